package parser

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func column(t *testing.T, sql string) []string {
	t.Helper()
	rows, err := pgtest.SharedPrimary(t).Super(t, "postgres").Query(context.Background(), sql)
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestVolatileFunctionsAreClassified asks a server for every function that it declares
// volatile. Each must be known to do more than compute, or not be known at all: what
// is not known does not go to a replica.
func TestVolatileFunctionsAreClassified(t *testing.T) {
	// Before PostgreSQL 15 timezone() for times was wrongly declared volatile; it reads the transaction's start.
	volatile := column(t, `SELECT DISTINCT proname::text FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v'
		AND NOT (proname = 'timezone' AND current_setting('server_version_num')::int < 150000) ORDER BY 1`)
	if len(volatile) < 200 {
		t.Fatalf("only %d volatile functions", len(volatile))
	}
	for _, name := range volatile {
		for _, sql := range []string{
			`SELECT "` + name + `"()`, `SELECT pg_catalog."` + name + `"()`, `SELECT * FROM "` + name + `"() x`,
			`SELECT ('a'::text)."` + name + `"`,
		} {
			p := Parse(sql).Parts[0]
			if c := p.Calls[0]; c.Builtin && !p.Volatile {
				t.Errorf("%s: taken for a function that only computes", sql)
			}
			if p.Clock && !clock[name] {
				t.Errorf("%s: taken for a clock", sql)
			}
		}
	}
}

// TestEffectsAreVolatile names what a read on a replica must not do although a
// read-only transaction allows it, and the functions whose labels are wrong.
func TestEffectsAreVolatile(t *testing.T) {
	for _, call := range strings.Fields(`
		nextval('s') setval('s',1) currval('s') lastval() set_config('a.b','c',true) setseed(0) pg_notify('a','b')
		pg_advisory_lock(1) pg_try_advisory_xact_lock(1,2) pg_advisory_unlock_all() pg_logical_emit_message(true,'a','b')
		pg_terminate_backend(1) pg_cancel_backend(1) pg_reload_conf() pg_rotate_logfile() pg_promote() pg_switch_wal()
		pg_create_restore_point('a') pg_backup_start('a') pg_export_snapshot() pg_sleep(1) pg_stat_reset()
		pg_create_physical_replication_slot('a') pg_drop_replication_slot('a') pg_replication_origin_create('a')
		lo_creat(-1) lo_create(0) lo_from_bytea(0,'') lo_put(1,0,'') lo_unlink(1) lo_export(1,'a') lo_import('a') lo_open(1,2)
		loread(1,1) lowrite(1,'') lo_get(1) pg_read_file('a') pg_ls_dir('a') dblink('a','b') dblink_exec('a') public.dblink_exec('a')
		txid_current() pg_current_xact_id() pg_current_xact_id_if_assigned() pg_current_snapshot() txid_status(1)
		pg_backend_pid() query_to_xml('a',true,true,'') ts_stat('a') ts_rewrite('a','b') cursor_to_xml('a',1,true,true,'')
		brin_summarize_new_values('i') gin_clean_pending_list('i') pg_import_system_collations('a') current_query()
		binary_upgrade_set_next_pg_type_oid(1) pg_nextoid('a','b','c') pg_extension_config_dump('a','b') pg_xact_status('1')`) {
		p := Parse("SELECT " + call).Parts[0]
		if !p.Volatile || p.Clock {
			t.Errorf("%s: volatile %v, clock %v", call, p.Volatile, p.Clock)
		}
	}
}

// TestOperatorsOfPgCatalogAreKnown asks a server for its operators, which all compute.
func TestOperatorsOfPgCatalogAreKnown(t *testing.T) {
	for _, name := range column(t, "SELECT DISTINCT oprname::text FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace") {
		if _, ok := systemOperators[name]; !ok {
			t.Errorf("operator %s is not known", name)
		}
	}
	if effects := column(t, `SELECT oprname::text FROM pg_operator JOIN pg_proc p ON p.oid = oprcode WHERE provolatile = 'v'
		UNION ALL SELECT format_type(castsource, null) FROM pg_cast JOIN pg_proc p ON p.oid = castfunc WHERE provolatile = 'v'
		UNION ALL SELECT typname::text FROM pg_type t JOIN pg_proc p ON p.oid IN (typinput, typoutput, typreceive, typsend) WHERE provolatile = 'v'`); len(effects) > 0 {
		t.Errorf("operators, casts or types with effects: %q", effects)
	}
}
