package proxy_test

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// script is what one client does from its startup to its goodbye, in the notation
// of testdata/transcripts. @ in its SQL stands for the actor's own tables.
type script struct {
	startup []string // pairs
	groups  []scriptGroup
	halfway bool // says goodbye by shutting down its side of the connection
}

// scriptGroup is sent at once, or in pieces of so many bytes; after it the client
// waits for the answer, or does not.
type scriptGroup struct {
	send   []string
	pieces int
	wait   bool
}

func (s *script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# startup %q", s.startup)
	if s.halfway {
		b.WriteString(", ends with a half-closed connection")
	}
	b.WriteString("\n")
	for _, g := range s.groups {
		if g.pieces > 0 || !g.wait {
			fmt.Fprintf(&b, "# pieces of %d, wait %v\n", g.pieces, g.wait)
		}
		for _, m := range g.send {
			b.WriteString("> " + m + "\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// GoString is what rapid prints.
func (s *script) GoString() string { return s.String() }

// scripts generates scripts of an actor, whose tables have its number.
func scripts(actor int) *rapid.Generator[*script] {
	return rapid.Custom(func(t *rapid.T) *script {
		w := &scriptWriter{t: t, number: fmt.Sprint(actor)}
		s := &script{startup: pick(t, startups)}
		for range rapid.IntRange(1, 7).Draw(t, "groups") {
			w.out = nil
			for range rapid.IntRange(1, 3).Draw(t, "steps") {
				pick(t, steps)(w)
			}
			s.groups = append(s.groups, scriptGroup{send: w.out, pieces: pick(t, pieces), wait: rapid.IntRange(0, 3).Draw(t, "pipelined") < 3})
		}
		s.halfway = rapid.IntRange(0, 5).Draw(t, "end") == 5
		return s
	})
}

func pick[T any](t *rapid.T, from []T) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(t, "pick")]
}

var (
	startups = [][]string{
		nil, nil,
		{"TimeZone", "Asia/Tokyo"},
		{"application_name", "oracle", "DateStyle", "SQL, DMY"},
		{"options", "-c search_path=noise,public -c extra_float_digits=0"},
	}
	pieces = []int{0, 0, 0, 0, 1, 2, 5, 13, 50}
)

// scriptWriter adds messages to a group.
type scriptWriter struct {
	t      *rapid.T
	number string
	out    []string
	bound  bool // this batch has bound the unnamed portal
}

func (w *scriptWriter) add(format string, args ...any) {
	w.out = append(w.out, fmt.Sprintf(format, args...))
}

func (w *scriptWriter) sql(from []string) string {
	return strings.ReplaceAll(pick(w.t, from), "@", w.number)
}

func (w *scriptWriter) chance(n int) bool { return rapid.IntRange(0, n-1).Draw(w.t, "chance") == n-1 }

// steps are what a script consists of; those met more often stand more often.
var steps = []func(w *scriptWriter){
	(*scriptWriter).query, (*scriptWriter).query, (*scriptWriter).query, (*scriptWriter).block, (*scriptWriter).block,
	(*scriptWriter).whole, (*scriptWriter).whole, (*scriptWriter).whole,
	(*scriptWriter).batch, (*scriptWriter).batch, (*scriptWriter).batch, (*scriptWriter).batch,
	(*scriptWriter).setting, (*scriptWriter).setting, (*scriptWriter).inSQL, (*scriptWriter).inSQL,
	(*scriptWriter).copyIn, (*scriptWriter).copyOut, (*scriptWriter).call, (*scriptWriter).stray,
}

func (w *scriptWriter) query() {
	from := plain
	if w.chance(3) {
		from = several
	}
	w.add("Query %q", w.sql(from))
}

func (w *scriptWriter) block() { w.add("Query %q", w.sql(blocks)) }

func (w *scriptWriter) setting() {
	if w.chance(3) {
		w.add("Parse \"\" %q", w.sql(settings))
		w.add(`Bind "" ""`)
		w.add(`Execute "" 0`)
		w.add("Sync")
		return
	}
	w.add("Query %q", w.sql(settings))
}

func (w *scriptWriter) inSQL() {
	if w.chance(3) {
		w.add("Parse \"\" %q", w.sql(named))
		w.add(`Bind "" ""`)
		w.add(`Execute "" 0`)
		w.add("Sync")
		return
	}
	w.add("Query %q", w.sql(named))
}

// whole is a batch as drivers send it.
func (w *scriptWriter) whole() {
	st, p := pick(w.t, names), pick(w.t, portals)
	text, params := w.prepared()
	w.add("Parse %q %q", st, text)
	if w.chance(3) {
		w.add("Describe S %q", st)
		if w.chance(2) {
			w.add("Sync")
		}
	}
	w.bind(p, st, params)
	if w.chance(2) {
		w.add("Describe P %q", p)
	}
	w.add("Execute %q %d", p, pick(w.t, limits))
	for w.chance(4) {
		w.add("Execute %q %d", p, pick(w.t, limits))
	}
	if w.chance(6) {
		w.add("Close P %q", p)
	}
	w.add("Sync")
}

// prepared is a text for Parse, and how many parameters it has.
func (w *scriptWriter) prepared() (text string, params int) {
	switch rapid.IntRange(0, 9).Draw(w.t, "text") {
	case 0, 1, 2, 3, 4:
		text = w.sql(withParams)
	case 5, 6:
		text = w.sql(plain)
	case 7:
		text = w.sql(blocks)
	case 8:
		text = w.sql(copies)
	case 9:
		text = w.sql(named)
	}
	for strings.Contains(text, fmt.Sprintf("$%d", params+1)) {
		params++
	}
	return text, params
}

func (w *scriptWriter) bind(p, st string, params int) {
	if w.chance(12) {
		params++
	}
	var values []string
	for range params {
		values = append(values, pick(w.t, paramValues))
	}
	line := fmt.Sprintf("Bind %q %q [%s]", p, st, strings.Join(values, " "))
	if w.chance(5) {
		line += " in [0] out [1]"
	}
	w.add("%s", line)
}

// batch is any sequence of messages of the extended protocol, usually with a Sync.
func (w *scriptWriter) batch() {
	w.bound = false
	for range rapid.IntRange(1, 8).Draw(w.t, "messages") {
		switch rapid.IntRange(0, 13).Draw(w.t, "message") {
		case 0, 1:
			text, _ := w.prepared()
			w.add("Parse %q %q", pick(w.t, names), text)
		case 2, 3, 4:
			p := pick(w.t, portals)
			w.bound = w.bound || p == ""
			w.bind(p, pick(w.t, names), rapid.IntRange(0, 1).Draw(w.t, "params"))
		case 5:
			w.add("Describe S %q", pick(w.t, names))
		case 6:
			w.add("Describe P %q", w.portal())
		case 7, 8, 9:
			w.add("Execute %q %d", w.portal(), pick(w.t, limits))
		case 10:
			w.add("Close S %q", pick(w.t, names))
		case 11:
			w.add("Close P %q", w.portal())
		case 12:
			w.add("Flush")
		case 13:
			w.add("Sync")
			w.bound = false
		}
	}
	switch rapid.IntRange(0, 5).Draw(w.t, "end") {
	case 4:
		w.add("Flush")
	case 5:
	default:
		w.add("Sync")
	}
}

// portal is one that may exist. The unnamed portal is left alone where a Query may
// have been the last to use it: in a failed transaction its text is freed memory,
// and PostgreSQL 15 crashes.
func (w *scriptWriter) portal() string {
	p := pick(w.t, portals)
	if p == "" && !w.bound {
		return "p"
	}
	return p
}

func (w *scriptWriter) copyIn() {
	text := w.sql(copies[:5])
	extended := w.chance(2)
	if extended {
		w.add("Parse \"\" %q", text)
		w.add(`Bind "" ""`)
		w.add(`Execute "" 0`)
		if w.chance(2) {
			w.add("%s", pick(w.t, []string{"Sync", "Flush"}))
		}
	} else {
		w.add("Query %q", text)
	}
	for range rapid.IntRange(0, 4).Draw(w.t, "rows") {
		w.add("CopyData %q", pick(w.t, copyRows))
	}
	switch rapid.IntRange(0, 6).Draw(w.t, "end") {
	case 4, 5:
		w.add("CopyFail %q", "no more")
	case 6:
		w.add("CopyDone")
		w.add("CopyDone")
	default:
		w.add("CopyDone")
	}
	if extended {
		w.add("Sync")
	}
}

func (w *scriptWriter) copyOut() { w.add("Query %q", w.sql(copies[5:])) }

// call is a FunctionCall of int4div, or of a function that does not exist.
func (w *scriptWriter) call() {
	w.add("FunctionCall %d [%q %q]", pick(w.t, []int{154, 154, 154, 99999999}), "7", pick(w.t, []string{"2", "0", "x"}))
}

// stray is a message that has no place here, most of them harmless.
func (w *scriptWriter) stray() {
	all := []string{"CopyDone", `CopyFail "stray"`, `CopyData "stray"`, "Flush", "Sync", `Query ""`}
	if w.chance(8) {
		all = []string{"raw 7a 00000004"}
	}
	w.add("%s", pick(w.t, all))
}

// What scripts say. A parameter with a class is shown only where it has just been set:
// a server process that has heard of one, from whichever session, knows it for good.
// nextval stands only next to currval, which pins: a session that calls it in one
// transaction and asks for the value in another may have another backend by then, and
// nobody can see all that draws from a sequence (README).
// EXPLAIN EXECUTE is given only what has just been prepared: where a statement executes
// itself, as Parse "b" "EXECUTE b" makes one, PostgreSQL 15 explains it until it crashes.
var (
	names       = []string{"", "a", "b"}
	portals     = []string{"", "p", "q"}
	limits      = []int{0, 0, 1, 2, 5}
	paramValues = []string{`"1"`, `"3"`, `"0"`, `"x"`, "NULL"}
	copyRows    = []string{"31\ta\t1\n", "32\tb\t2\n", "33\tc\t5000\n", "wrong\n", "31\tagain\t1\n", "34\thalf", "\n", "\\.\n"}

	plain = []string{
		"SELECT 1", "SELECT id, v FROM t@ ORDER BY id", "SELECT count(*), sum(n) FROM t@", "INSERT INTO t@ VALUES (11, 'new', 1)",
		"UPDATE t@ SET n = n + 1 WHERE id < 3 RETURNING id, n", "DELETE FROM t@ WHERE id = 4", "INSERT INTO d@ VALUES (1)",
		"SELECT 1/0", "SELECT nothing FROM t@", "SELEC", "", ";", "SELECT g, repeat('y', 300) FROM generate_series(1, 40) g",
		"SELECT id / (id - 3) FROM t@ ORDER BY id", "SELECT 'happy'::mood", "SELECT NULL, true, 1.5, '{1,2}'::int[]",
		"SELECT pg_notify('none', 'x')", "SELECT complain('hear')",
		"VALUES (1, 'one'), (2, 'two')", "INSERT INTO t@ SELECT 50 + g, 'many' FROM generate_series(1, 3) g", "TRUNCATE t@",
		"SELECT current_user, session_user, current_setting('search_path')", "SELECT '2024-02-03 04:05:06+00'::timestamptz, 1.1::float4",
		"SELECT name, statement FROM pg_cursors ORDER BY name", "DO $$ BEGIN RAISE NOTICE 'from a block'; END $$",
		"SELECT set_config('work_mem', '2MB', false)", "SELECT to_tsvector('english', 'the dogs')",
		"SELECT count(*) FROM mine", "CREATE TEMP TABLE mine AS SELECT 7 AS seven", "DROP TABLE mine", "CREATE TABLE made@ (x int)", "DROP TABLE made@",
		"EXPLAIN (COSTS off) SELECT * FROM d@", "SELECT pg_advisory_xact_lock(@), pg_try_advisory_lock(1000 + @)", "SELECT pg_advisory_unlock(1000 + @)",
	}
	several = []string{
		"SELECT 1; SELECT 2", "INSERT INTO t@ VALUES (21); INSERT INTO t@ VALUES (21)", "INSERT INTO t@ VALUES (22); SELECT 1/0; SELECT 3",
		"BEGIN; INSERT INTO t@ VALUES (23); COMMIT; SELECT 4", "INSERT INTO t@ VALUES (24); BEGIN; INSERT INTO t@ VALUES (25); ROLLBACK; SELECT count(*) FROM t@",
		"BEGIN; SAVEPOINT a; SELECT 1/0; ROLLBACK TO a", "SELECT 1; SAVEPOINT a", "BEGIN; INSERT INTO d@ VALUES (1); COMMIT; SELECT 5", ";; SELECT 6;",
		"BEGIN; SET LOCAL TimeZone = 'Africa/Cairo'; SHOW TimeZone; ROLLBACK; SHOW TimeZone", "SET work_mem = '3MB'; SELECT 1/0",
		"SET work_mem = '4MB'; SHOW work_mem; COMMIT; SHOW work_mem", "COMMIT AND CHAIN; SELECT 7", "SELECT nextval('q@'); SELECT currval('q@'), lastval()", "SELECT currval('q@'); SELECT nextval('q@')", "SELECT 1; COPY t@ (id) TO STDOUT; SELECT 2", "BEGIN; BEGIN; SELEC",
	}
	blocks = []string{
		"BEGIN", "COMMIT", "BEGIN", "ROLLBACK", "SAVEPOINT a", "ROLLBACK TO a", "RELEASE a", "SAVEPOINT b", "ROLLBACK TO b", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN",
		"BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", "START TRANSACTION READ ONLY", "END", "ABORT", "SET TRANSACTION READ ONLY",
		"SET CONSTRAINTS ALL IMMEDIATE", "PREPARE TRANSACTION 'none'", "SELECT 1",
	}
	settings = []string{
		"SHOW TimeZone", "SHOW search_path", "SHOW DateStyle", "SHOW application_name", "SHOW work_mem", "SHOW pg_temp.nothing",
		"SET TimeZone = 'America/New_York'", "SET TIME ZONE 'UTC'", "SET LOCAL TimeZone = 'Europe/Paris'", "RESET TimeZone", "SET TimeZone TO DEFAULT",
		"SET DateStyle = 'German'", "SET DateStyle TO dmy", "RESET DateStyle", "SET search_path = noise", "SET search_path TO public, noise", "RESET search_path",
		"SET SCHEMA 'noise'", "SET application_name = 'renamed'", "RESET ALL", "DISCARD ALL", "DISCARD PLANS", "DISCARD TEMP", "SET ROLE oracle_@", "RESET ROLE", "SET ROLE nobody",
		"SET SESSION AUTHORIZATION oracle_@", "RESET SESSION AUTHORIZATION", "SET work_mem = 'wrong'", "SET custom.thing = 'mine'", "SET custom.thing = 'mine'; SHOW custom.thing", "RESET custom.thing",
		"SELECT set_config('TimeZone', 'Asia/Kolkata', false)", "SELECT set_config('custom.thing', 'local', true)", "SET client_encoding = 'LATIN1'", "SET NAMES 'UTF8'",
		"SET standard_conforming_strings = off", "SET client_min_messages = error", "SET extra_float_digits = 1", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
		"SET default_transaction_read_only = off", "SHOW transaction_isolation", "SHOW ALL_THAT",
	}
	named = []string{
		"PREPARE a AS SELECT 'by SQL', $1::int", "PREPARE b AS SELECT v FROM t@ ORDER BY id", "EXECUTE a(1)", "EXECUTE b", "EXECUTE a", "DEALLOCATE a", "DEALLOCATE b",
		"DEALLOCATE ALL", "DEALLOCATE PREPARE ALL", "DECLARE c CURSOR FOR SELECT id FROM t@ ORDER BY id", "DECLARE h CURSOR WITH HOLD FOR SELECT id FROM t@ ORDER BY id",
		"FETCH 2 FROM c", "FETCH h", "MOVE 1 FROM c", "CLOSE c", "CLOSE ALL", "FETCH ALL FROM p", "CLOSE p", "LISTEN oracle_@", "NOTIFY oracle_@, 'hello'", "UNLISTEN *",
		"PREPARE b AS SELECT v FROM t@ ORDER BY id; EXPLAIN (COSTS off) EXECUTE b",
	}
	withParams = []string{
		"SELECT $1::int + 1", "SELECT id, v FROM t@ WHERE id >= $1 ORDER BY id", "SELECT $1::text, $2::int", "INSERT INTO t@ (id, v) VALUES ($1, $2) RETURNING *",
		"SELECT 10 / $1::int", "SELECT g FROM generate_series(1, $1::int + 5) g", "UPDATE t@ SET v = $2 WHERE id = $1", "SELECT '2024-02-03 04:05:06'::timestamptz, $1::text",
		"SELECT current_setting('TimeZone'), $1::text", "SELECT set_config('work_mem', $1, false)", "SELECT $1::mood", "SELECT $1", "DELETE FROM t@ WHERE id = $1",
	}
	copies = []string{
		"COPY t@ FROM STDIN", "COPY t@ (id, v, n) FROM STDIN", "COPY t@ FROM STDIN (FORMAT csv)", "COPY nothing FROM STDIN", "COPY t@ FROM STDIN; SELECT 'after'",
		"COPY t@ TO STDOUT", "COPY (SELECT g, repeat('z', 100) FROM generate_series(1, 20) g) TO STDOUT", "COPY (SELECT 1 / (2 - g) FROM generate_series(1, 3) g) TO STDOUT",
		"COPY (SELECT 1) TO STDOUT (FORMAT binary)",
	}
)

// tables is SQL that gives an actor fresh tables.
func tables(actor int) string {
	sql := `DROP TABLE IF EXISTS public.t@, noise.t@, d@, public.made@, noise.made@ CASCADE; DROP SEQUENCE IF EXISTS q@; CREATE SEQUENCE q@;
CREATE TABLE t@ (id int PRIMARY KEY, v text NOT NULL DEFAULT 'x', n int DEFAULT 0 CHECK (n < 1000));
INSERT INTO t@ SELECT g, 'v' || g, g FROM generate_series(1, 5) g;
CREATE TABLE d@ (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO d@ VALUES (1), (2);
GRANT SELECT ON t@ TO oracle_@;
CREATE TABLE noise.t@ AS SELECT 100 + g AS id, 'noise' AS v, 0 AS n FROM generate_series(1, 2) g;`
	return strings.ReplaceAll(sql, "@", fmt.Sprint(actor))
}

// bytes encodes a group.
func (g *scriptGroup) bytes() []byte {
	var out [][]byte
	for _, text := range g.send {
		m, err := encodeMessage(text)
		if err != nil {
			panic("BUG: " + err.Error())
		}
		out = append(out, m)
	}
	return slices.Concat(out...)
}
