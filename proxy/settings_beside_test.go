package proxy_test

import (
	"cmp"
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// TestSettingsHoldOnReplicas: what a statement says on a PostgresML server depends on
// the client's settings, and where it has none on the primary's, never on that server's
// own. What that server does not accept does no harm.
func TestSettingsHoldOnReplicas(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db, other := primary.NewDatabase(t), replica.NewDatabase(t)
	roles := "CREATE ROLE beside_a; CREATE ROLE beside_b"
	for _, s := range []*pgtest.Server{primary, replica} {
		s.Exec(t, roles)
		t.Cleanup(func() { s.Exec(t, "DROP ROLE beside_a, beside_b") })
	}
	replica.ExecIn(t, other, "ALTER DATABASE "+other+" SET TimeZone = 'Asia/Kolkata'; ALTER DATABASE "+other+" SET DateStyle = 'postgres, ymd';"+
		"ALTER DATABASE "+other+" SET IntervalStyle = 'sql_standard'; GRANT USAGE ON SCHEMA pgml TO public")
	primary.ExecIn(t, db, "CREATE TEXT SEARCH CONFIGURATION only_here (COPY = simple)")
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other, pool: pool.Config{Size: 1}})

	const probe = "SELECT timestamptz '2024-01-02 03:04+00', interval '1 day 2 hours', date '2024-02-03', current_user, pgml.version() <> ''"
	withoutPgml := strings.NewReplacer("pgml.version() <> ''", "true")
	scripts := map[string][]string{
		"nothing set":            {},
		"set":                    {"SET TimeZone = 'America/New_York'", "SET DateStyle = 'sql, dmy'"},
		"reset":                  {"SET TimeZone = 'America/New_York'", "SET IntervalStyle = 'iso_8601'", "RESET ALL"},
		"local":                  {"BEGIN", "SET LOCAL DateStyle = 'german'", "!", "COMMIT"},
		"local, rolled back":     {"BEGIN", "SET LOCAL DateStyle = 'german'", "SAVEPOINT s", "SET LOCAL TimeZone = 'Asia/Tokyo'", "!", "ROLLBACK TO s", "!", "ROLLBACK"},
		"role":                   {"SET ROLE beside_a", "!", "RESET ROLE"},
		"authorization":          {"SET SESSION AUTHORIZATION beside_b", "!", "RESET SESSION AUTHORIZATION"},
		"role for a transaction": {"BEGIN", "SET LOCAL ROLE beside_a", "!", "COMMIT"},
		"unknown there":          {"SET default_text_search_config = 'public.only_here'", "SET DateStyle = 'german'", "!", "RESET default_text_search_config"},
		"discard all":            {"SET DateStyle = 'german'", "SET ROLE beside_a", "DISCARD ALL"},
		"a cursor kept there":    {"BEGIN", "DECLARE c CURSOR FOR " + probe, "SET LOCAL TimeZone = 'Asia/Tokyo'", "!FETCH c", "!", "COMMIT"},
		"a transaction's modes":  {"BEGIN", "SET TRANSACTION READ ONLY", "!", "COMMIT"},
	}
	for protocol, mode := range map[string]pgx.QueryExecMode{"simple": pgx.QueryExecModeSimpleProtocol, "extended": pgx.QueryExecModeExec} {
		for name, script := range scripts {
			for startup, params := range map[string]string{"plain": "", "startup": "&timezone=Asia/Tokyo&datestyle=german"} {
				t.Run(protocol+"/"+name+"/"+startup, func(t *testing.T) {
					ctx := context.Background()
					direct, through := pgtest.Connect(t, primary.URL("postgres", db)+params), pgtest.Connect(t, f.url("postgres", db)+params)
					compare := func(after, sql string) {
						t.Helper()
						mark := replica.Mark(t)
						want := onlyRow(ctx, t, direct, withoutPgml.Replace(sql), mode)
						if got := onlyRow(ctx, t, through, sql, mode); got != want {
							t.Errorf("after %s: %s, on the primary %s", after, got, want)
						}
						if sql == probe && !replica.Saw(t, mark, "pgml.version") {
							t.Error("it did not run on the replica")
						}
						for _, p := range []string{"TimeZone", "DateStyle", "IntervalStyle", "is_superuser", "session_authorization"} {
							if got, want := through.PgConn().ParameterStatus(p), direct.PgConn().ParameterStatus(p); got != want {
								t.Errorf("after %s: the client was told %s = %q, on the primary %q", after, p, got, want)
							}
						}
					}
					last := "login"
					for _, sql := range script {
						if question, compared := strings.CutPrefix(sql, "!"); compared {
							compare(last, cmp.Or(question, probe))
							continue
						}
						last = sql
						if _, err := direct.Exec(ctx, withoutPgml.Replace(sql), mode); err != nil {
							t.Fatalf("%s: %v", sql, err)
						}
						if _, err := through.Exec(ctx, sql, mode); err != nil {
							t.Fatalf("%s: %v", sql, err)
						}
					}
					compare(last, probe)
				})
			}
		}
	}
}

// onlyRow is the text of the only row.
func onlyRow(ctx context.Context, t *testing.T, conn *pgx.Conn, sql string, mode pgx.QueryExecMode) string {
	t.Helper()
	var columns []string
	if mode == pgx.QueryExecModeSimpleProtocol {
		r, err := conn.PgConn().Exec(ctx, sql).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return said(r, nil)
	}
	r := conn.PgConn().ExecParams(ctx, sql, nil, nil, nil, nil).Read()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	for _, v := range r.Rows[0] {
		columns = append(columns, string(v))
	}
	return strings.Join(columns, "|")
}

// TestLimitsHoldOnReplicas: a timeout ends what runs there, and a session that wants to
// read only does not train.
func TestLimitsHoldOnReplicas(t *testing.T) {
	_, conn, _ := besides(t, false)
	ctx := context.Background()
	for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec} {
		execute(t, conn, "SET statement_timeout = '200ms'")
		_, err := conn.Exec(ctx, "SELECT count(*) FROM generate_series(1, 1000000000) n WHERE pgml.version() <> n::text", mode)
		wantState(t, err, "57014")
		execute(t, conn, "RESET statement_timeout")
		for set, reset := range map[string]string{
			"SET default_transaction_read_only = on":               "RESET default_transaction_read_only",
			"SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY": "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
		} {
			execute(t, conn, set)
			_, err = conn.Exec(ctx, "SELECT * FROM pgml.train('houses', 'regression', 'public.training', 'price')", mode)
			wantState(t, err, "25006")
			execute(t, conn, reset)
			if _, err := conn.Exec(ctx, "SELECT * FROM pgml.train('houses', 'regression', 'public.training', 'price')", mode); err != nil {
				t.Error(err)
			}
		}
	}
}
