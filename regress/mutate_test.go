package main

import (
	"math/rand/v2"
	"regexp"
	"strings"
)

// mutator makes new statements from those of a corpus, by their tokens.
type mutator struct {
	*rand.Rand
	corpus []string
}

// effects are expressions and clauses that do something, or that must be looked at.
var effects = []string{
	"nextval('ticket')", "pg_catalog.nextval('ticket'::regclass)", "('ticket'::regclass).nextval", "NextVal('ticket')", `"nextval"('ticket')`,
	"setval('ticket', 7)", "lo_creat(-1)", "txid_current()", "pg_current_xact_id()", "pg_try_advisory_lock(1)", "pg_try_advisory_xact_lock(1)",
	"bump(1)", "public.bump(1)", "(1 === 1)", "(1 OPERATOR(public.===) 1)", "pgml.deploy('p', 'new_score')", "set_config('a.b', 'c', false)",
	"(SELECT nextval('ticket'))", "(SELECT bump(id) FROM users LIMIT 1)", "ARRAY[nextval('ticket')]", "ROW(bump(1))", "COALESCE(NULL, bump(1))",
	"CASE WHEN true THEN nextval('ticket') END", "lo_from_bytea(0, 'x')", "nextval('ticket') OVER ()", "sum(bump(1))", "add_one(1)",
	"now()", "random()", "1", "'a'", "pgml.predict('p', ARRAY[1, 2])", "pgml.embed('m', 'x')", "pg_logical_emit_message(true, 'a', 'b')",
	"x.nextval FROM to_regclass('ticket') AS x", "query_to_xml('SELECT nextval(''ticket'')', true, true, '')", "pg_notify('a', 'b')",
	"pg_terminate_backend(0)", "currval('ticket')", "pg_export_snapshot()", "ts_stat('SELECT to_tsvector(nextval(''ticket'')::text)')",
}

// clauses may stand at the end of a statement or after any token of it.
var clauses = []string{
	"FOR UPDATE", "FOR SHARE SKIP LOCKED", "FOR NO KEY UPDATE", "INTO made", "INTO TEMP made", "LIMIT nextval('ticket')", "OFFSET bump(1)", "ORDER BY nextval('ticket')",
	"GROUP BY bump(1)", "HAVING bump(1) > 0", "WHERE bump(1) > 0", "TABLESAMPLE bernoulli (bump(1))", "WINDOW w AS (ORDER BY bump(1))",
	"RETURNING *", "ON CONFLICT DO NOTHING", "UNION ALL SELECT nextval('ticket')", ", LATERAL bump(1)", "CROSS JOIN LATERAL (SELECT nextval('ticket')) l",
	"FETCH FIRST (bump(1)) ROWS ONLY", "ORDER BY 1 USING OPERATOR(public.===)", "AND EXISTS (SELECT bump(1))", "; DELETE FROM users", "; SELECT 1",
}

// wrappers put a statement into another one, at the %.
var wrappers = []string{
	"WITH x AS (%) SELECT * FROM x", "WITH x AS MATERIALIZED (%) SELECT 1", "SELECT * FROM (%) q", "SELECT EXISTS (%)", "SELECT ARRAY(%)", "SELECT (%)",
	"EXPLAIN %", "EXPLAIN ANALYZE %", "EXPLAIN (ANALYZE, COSTS off) %", "EXPLAIN (ANALYZE off) %", "COPY (%) TO STDOUT", "PREPARE made AS %",
	"DECLARE made CURSOR FOR %", "DECLARE made CURSOR WITH HOLD FOR %", "CREATE TABLE made AS %", "CREATE TEMP TABLE made AS %", "CREATE VIEW made AS %",
	"CREATE MATERIALIZED VIEW made AS %", "EXPLAIN ANALYZE CREATE TABLE made AS %", "INSERT INTO users %", "% UNION ALL %", "SELECT 1 UNION (%)",
	"DO $do$ BEGIN PERFORM (%); END $do$", "BEGIN; %; COMMIT", "%; %", "/*+ note */ %", "SELECT 1 WHERE 1 IN (%)", "VALUES ((%))", "SELECT * FROM users WHERE (%) IS NULL",
	"CREATE FUNCTION made() RETURNS void LANGUAGE sql AS $f$ % $f$", "EXPLAIN ANALYZE EXECUTE made", "UPDATE users SET age = (%)", "SELECT (%)::text", "WITH x AS (DELETE FROM users RETURNING *) %",
}

var tokens = regexp.MustCompile(`(?s)'(?:[^']|'')*'|"[^"]*"|\$\$.*?\$\$|[A-Za-z_][A-Za-z_0-9.]*|\d+|\s+|::|.`)

func (m *mutator) pick(list []string) string { return list[m.IntN(len(list))] }

// mutate returns sql changed in a few ways.
func (m *mutator) mutate(sql string) string {
	for range 1 + m.IntN(4) {
		words := tokens.FindAllString(sql, -1)
		if len(words) == 0 || len(sql) > 4000 {
			return sql
		}
		i := m.IntN(len(words))
		switch m.IntN(9) {
		case 0:
			words[i] = m.pick(effects)
		case 1:
			words[i] += " " + m.pick(clauses) + " "
		case 2:
			words = append(words, " "+m.pick(clauses))
		case 3:
			sql = strings.ReplaceAll(m.pick(wrappers), "%", sql)
			continue
		case 4:
			sql = strings.ReplaceAll(m.pick(wrappers), "%", m.pick(m.corpus))
			continue
		case 5:
			words = append(words[:i], words[i+1:]...)
		case 6:
			j := m.IntN(len(words))
			words[i], words[j] = words[j], words[i]
		case 7:
			m.call(words, i)
		case 8:
			other := tokens.FindAllString(m.pick(m.corpus), -1)
			words = append(words[:i:i], other[m.IntN(len(other)):]...)
		}
		sql = strings.Join(words, "")
	}
	return sql
}

// call swaps the name of a function called after the i-th token, or puts an effect into
// its arguments.
func (m *mutator) call(words []string, i int) {
	names := []string{"nextval", "bump", "lo_creat", "lo_unlink", "pg_advisory_xact_lock", "currval", "add_one", "pgml.embed", "txid_status", "pg_sleep"}
	for ; i+1 < len(words); i++ {
		if words[i+1] != "(" || strings.TrimSpace(words[i]) == "" {
			continue
		}
		if m.IntN(2) == 0 {
			words[i] = m.pick(names)
		} else {
			words[i+1] = "(" + m.pick(effects) + ", "
		}
		return
	}
}
