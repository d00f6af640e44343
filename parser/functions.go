package parser

import (
	_ "embed"
	"strings"
)

// builtinNames lists the functions of pg_catalog that PostgreSQL declares stable or
// immutable in all their overloads, one per line: pg_proc of PostgreSQL 15, plus the
// additions of 16 to 18 and the functions that the grammar spells as key words.
//
//go:embed builtins.txt
var builtinNames string

var builtin = func() map[string]bool {
	names := strings.Fields(builtinNames)
	m := make(map[string]bool, len(names))
	for _, name := range names {
		m[name] = true
	}
	return m
}()

// clock holds the volatile functions that any server may answer outside a transaction
// block. now() and its kind are stable in PostgreSQL's words, but they name the
// transaction's start, which another server does not know.
var clock = map[string]bool{
	"now": true, "transaction_timestamp": true, "statement_timestamp": true,
	"clock_timestamp": true, "timeofday": true, "random": true, "random_normal": true,
	"gen_random_uuid": true, "uuidv4": true, "uuidv7": true,
	"array_shuffle": true, "array_sample": true,
}

// anchored holds the functions whose effect or answer belongs to one server, one
// backend or one transaction. The rest of pg_catalog's volatile functions match
// anchoredPrefix.
var anchored = map[string]bool{
	"nextval": true, "setval": true, "currval": true, "lastval": true, "set_config": true,
	"setseed": true, "loread": true, "lowrite": true, "current_query": true,
	"query_to_xml": true, "query_to_xmlschema": true, "query_to_xml_and_xmlschema": true,
	"cursor_to_xml": true, "cursor_to_xmlschema": true, "ts_stat": true, "ts_rewrite": true,
	"txid_current": true, "txid_current_if_assigned": true, "txid_current_snapshot": true,
	"txid_status": true, "currtid2": true, "suppress_redundant_updates_trigger": true,
	"brin_summarize_new_values": true, "brin_summarize_range": true, "brin_desummarize_range": true,
	"gin_clean_pending_list": true, "system": true, "bernoulli": true,
}

// isAnchored reports whether an unqualified or pg_catalog name is such a function.
func isAnchored(name string) bool {
	if anchored[name] {
		return true
	}
	if builtin[name] {
		return false
	}
	for _, prefix := range [...]string{"pg_", "lo_", "dblink", "binary_upgrade_", "RI_FKey_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// askers holds the functions of pg_catalog without effects that answer for one server:
// what its catalogs, statistics and configuration hold, or what it is called. The rest
// match isAsker's prefixes.
var askers = map[string]bool{
	"version": true, "current_database": true, "current_schema": true, "current_schemas": true,
	"format_type": true, "obj_description": true, "shobj_description": true, "col_description": true,
	"row_security_active": true, "get_current_ts_config": true, "icu_unicode_version": true,
	"table_to_xml": true, "table_to_xmlschema": true, "table_to_xml_and_xmlschema": true,
	"schema_to_xml": true, "schema_to_xmlschema": true, "schema_to_xml_and_xmlschema": true,
	"database_to_xml": true, "database_to_xmlschema": true, "database_to_xml_and_xmlschema": true,
}

// computing holds the functions called pg_something that only compute.
var computing = map[string]bool{
	"pg_typeof": true, "pg_column_size": true, "pg_column_compression": true, "pg_collation_for": true,
	"pg_size_pretty": true, "pg_size_bytes": true, "pg_client_encoding": true, "pg_char_to_encoding": true,
	"pg_encoding_to_char": true, "pg_encoding_max_length": true, "pg_timezone_names": true, "pg_timezone_abbrevs": true,
	"pg_input_is_valid": true, "pg_input_error_info": true, "pg_lsn": true, "pg_wal_lsn_diff": true,
}

// loneObject holds the functions on large objects that take one argument.
var loneObject = map[string]bool{
	"lo_close": true, "lo_creat": true, "lo_create": true, "lo_get": true, "lo_import": true,
	"lo_tell": true, "lo_tell64": true, "lo_unlink": true,
}

// isAsker reports whether a function that is not anchored answers for one server.
func isAsker(name string) bool {
	if askers[name] {
		return true
	}
	switch {
	case strings.HasPrefix(name, "pg_"):
		return !computing[name]
	case strings.HasPrefix(name, "has_"):
		return strings.HasSuffix(name, "_privilege")
	}
	return strings.HasPrefix(name, "inet_server_") || strings.HasPrefix(name, "inet_client_") || strings.HasPrefix(name, "to_reg")
}

// systemColumns are those that every table has and no other server's copy of it shares.
var systemColumns = map[string]bool{
	"ctid": true, "xmin": true, "xmax": true, "cmin": true, "cmax": true, "tableoid": true,
}

// pinOf says why a session that called name must keep its backend, "" if it need not.
func pinOf(name string) string {
	switch name {
	case "pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared":
		return PinAdvisoryLock
	case "currval", "lastval":
		return PinSequence
	case "setseed":
		return PinSeed
	}
	if strings.HasPrefix(name, "dblink_connect") || strings.HasPrefix(name, "dblink_open") {
		return PinRemote
	}
	return ""
}

// The values of Part.Pin.
const (
	PinTemporary    = "temporary object"
	PinListen       = "listen"
	PinAdvisoryLock = "advisory lock"
	PinHoldCursor   = "with hold cursor"
	PinSequence     = "sequence state"
	PinSetting      = "set_config"
	PinLoad         = "load"
	PinPrepare      = "statement prepared by SQL"
	PinSeed         = "setseed"
	PinRemote       = "dblink connection"
)
