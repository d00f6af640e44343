package proxy_test

import (
	"flag"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/router"
)

// readOnlyTables is what both servers have. Nothing of it changes: what would write in a script
// changes no rows.
const readOnlyTables = `CREATE SCHEMA noise; CREATE TABLE t (id int PRIMARY KEY, v text, n int); INSERT INTO t SELECT g, 'v' || g, g FROM generate_series(1, 40) g;
	CREATE TABLE noise.t AS SELECT 100 + g AS id, 'noise' AS v, 0 AS n FROM generate_series(1, 2) g;
	CREATE VIEW w AS SELECT id, v FROM t WHERE id < 5;
	CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * $1';
	CREATE FUNCTION fourfold(int) RETURNS bigint STABLE LANGUAGE sql AS 'SELECT sum(public.twice(id)) FROM public.t WHERE id <= $1';
	CREATE FUNCTION complain(what text) RETURNS text STABLE LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'complaint: %', what; RETURN what; END $$;
	CREATE FUNCTION writes(what int) RETURNS int VOLATILE LANGUAGE sql AS 'INSERT INTO t SELECT $1 WHERE false RETURNING id'`

// TestReadOnlyLikePostgreSQL plays random scripts of READ ONLY transactions directly and
// through the proxy, where they follow a replica with the same rows, and compares every byte of
// the answers. PGSHUNT_SOAK=10m goes on for that long.
func TestReadOnlyLikePostgreSQL(t *testing.T) {
	soak, err := time.ParseDuration(os.Getenv("PGSHUNT_SOAK"))
	until := time.Now().Add(soak)
	few := err != nil && flag.Lookup("rapid.checks").Value.String() == "100"
	if few && flag.Lookup("rapid.seed").Value.String() == "0" {
		if err := flag.Set("rapid.seed", "2"); err != nil { // the same scripts every time
			t.Fatal(err)
		}
	}
	primary, replica := pgtest.Primary(t), pgtest.Replica(t)
	primary.Exec(t, "CREATE DATABASE direct")
	for _, s := range []*pgtest.Server{primary, replica} {
		s.Exec(t, readOnlyTables)
	}
	primary.ExecIn(t, "direct", readOnlyTables)
	pgtest.NoLeaks(t)
	f := watched(t, setup{
		policy: router.Config{Reads: "replica"}, replicas: []*pgtest.Server{replica}, pool: pool.Config{Size: 3, Wait: time.Minute, Prepared: 6},
	}, router.FeedNone, primary)
	o := &oracle{direct: "direct", proxied: "postgres", server: address(primary)}
	stop := o.crowd(t, f.addr)
	defer stop()
	for once := true; once || time.Now().Before(until) && !t.Failed(); once = false {
		rapid.Check(t, func(t *rapid.T) {
			if s := readOnlyScripts().Draw(t, "script"); !few || o.compared < fewScripts || o.suspect {
				o.compare(t, s, f.addr)
			}
		})
	}
	followed := strings.Count(f.log.String(), "rule=read-only")
	t.Logf("%d scripts compared, %d messages of answers, %d scripts of neighbours, %d statements followed", o.compared, o.messages, o.noise.Load(), followed)
	if followed == 0 {
		t.Error("no statement has followed a replica")
	}
}

// crowd runs neighbours that do the same as the session which is compared.
func (o *oracle) crowd(t *testing.T, proxy string) (stop func()) {
	var all sync.WaitGroup
	var done atomic.Bool
	for actor := 1; actor <= 3; actor++ {
		all.Go(func() {
			for seed := actor; !done.Load(); seed += 3 {
				if answer, _ := playScript(readOnlyScripts().Example(seed), proxy, o.proxied, []int{}); strings.Contains(strings.Join(answer, ""), "no answer") {
					t.Errorf("neighbour %d, seed %d, is left without an answer: %q", actor, seed, readable(answer))
				}
				o.noise.Add(1)
			}
		})
	}
	return func() {
		done.Store(true)
		all.Wait()
	}
}

// readOnlyScripts generates scripts of transactions, most of them READ ONLY. Those of one
// kind have only levels at which reads see one snapshot, and so only what may run on any server.
func readOnlyScripts() *rapid.Generator[*script] {
	return rapid.Custom(func(t *rapid.T) *script {
		w := &followWriter{scriptWriter: scriptWriter{t: t}, snapshot: rapid.Bool().Draw(t, "snapshot")}
		s := &script{startup: pick(t, startups)}
		for range rapid.IntRange(1, 6).Draw(t, "groups") {
			if len(w.out) > 0 {
				w.last = w.out[len(w.out)-1]
			}
			w.out = nil
			for range rapid.IntRange(1, 4).Draw(t, "steps") {
				pick(t, followSteps)(w)
			}
			s.groups = append(s.groups, scriptGroup{send: w.out, pieces: pick(t, pieces), wait: !w.chance(4)})
		}
		// Who leaves within a batch may get more of it than PostgreSQL would have written.
		s.groups = append(s.groups, scriptGroup{send: []string{"Sync"}, wait: true})
		return s
	})
}

type followWriter struct {
	scriptWriter
	snapshot bool // all transactions are at REPEATABLE READ
	open     bool // perhaps
	last     string
}

var followSteps = []func(*followWriter){
	(*followWriter).begin, (*followWriter).read, (*followWriter).read, (*followWriter).read, (*followWriter).batch, (*followWriter).batch, (*followWriter).batch,
	(*followWriter).cursor, (*followWriter).cursor, (*followWriter).portal, (*followWriter).save, (*followWriter).save, (*followWriter).other, (*followWriter).end,
}

// say is a statement of one or the other protocol.
func (w *followWriter) say(sql string) {
	if !w.chance(3) {
		w.add("Query %q", sql)
		return
	}
	w.add(`Parse "" %q`, sql)
	w.add(`Bind "" ""`)
	w.add(`Execute "" 0`)
	if w.chance(4) {
		return // the next one is in the same batch
	}
	w.add("Sync")
}

// start ends the batch before it, if that has no Sync: reads in it may have run on a replica, and do
// not count as queries of the transaction that PostgreSQL makes of the batch and the BEGIN.
func (w *followWriter) start() {
	last := w.last
	if len(w.out) > 0 {
		last = w.out[len(w.out)-1]
	}
	if last != "" && last != "Sync" && !strings.HasPrefix(last, "Query") {
		w.add("Sync")
	}
	if w.snapshot {
		w.say(pick(w.t, snapshotBegins))
	} else {
		w.say(pick(w.t, committedBegins))
	}
	w.open = true
}

func (w *followWriter) begin() {
	if w.open && !w.chance(6) {
		w.end()
	}
	w.start()
}

func (w *followWriter) need() {
	if !w.open && !w.chance(5) {
		w.start()
	}
}

func (w *followWriter) read() {
	w.need()
	from := followReads
	if !w.snapshot && w.chance(5) {
		from = anywhereReads
	}
	w.say(pick(w.t, from))
}

func (w *followWriter) other() {
	w.need()
	w.say(pick(w.t, followOthers))
}

func (w *followWriter) save() {
	w.need()
	w.say(pick(w.t, []string{"SAVEPOINT a", "SAVEPOINT b", "ROLLBACK TO a", "ROLLBACK TO a", "ROLLBACK TO b", "RELEASE a", "RELEASE b"}))
}

func (w *followWriter) end() {
	w.say(pick(w.t, []string{"COMMIT", "COMMIT", "ROLLBACK", "END", "ABORT", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN"}))
	w.open = false
}

func (w *followWriter) cursor() {
	w.need()
	w.say(pick(w.t, followCursors))
}

// batch is a statement as drivers send it, with a name and in pieces or without.
func (w *followWriter) batch() {
	w.need()
	st, p := pick(w.t, names), pick(w.t, portals)
	if st != "" && !w.chance(4) {
		w.add("Close S %q", st)
	}
	text := pick(w.t, followParams)
	w.add("Parse %q %q", st, text)
	if w.chance(3) {
		w.add("Describe S %q", st)
		if w.chance(2) {
			w.add("Sync")
		}
	}
	if p != "" && !w.chance(4) {
		w.add("Close P %q", p)
	}
	w.bind(p, st, strings.Count(text, "$1"))
	if w.chance(2) {
		w.add("Describe P %q", p)
	}
	w.add("Execute %q %d", p, pick(w.t, limits))
	for w.chance(4) {
		w.add("Execute %q %d", p, pick(w.t, limits))
	}
	if !w.chance(6) {
		w.add("Sync")
	}
}

// portal goes on with a portal of an earlier batch, or a prepared statement.
func (w *followWriter) portal() {
	switch rapid.IntRange(0, 3).Draw(w.t, "what") {
	case 0:
		w.add("Describe P %q", pick(w.t, []string{"p", "q"}))
	case 1:
		st := pick(w.t, names)
		w.add("Close P \"q\"")
		w.bind("q", st, rapid.IntRange(0, 1).Draw(w.t, "params"))
	}
	w.add("Execute %q %d", pick(w.t, []string{"p", "q"}), pick(w.t, limits))
	if w.chance(5) {
		w.add("Close P %q", pick(w.t, []string{"p", "q"}))
	}
	if !w.chance(6) {
		w.add("Sync")
	}
}

var (
	snapshotBegins = []string{
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "START TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
		"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT id FROM t WHERE id < 3", "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY, DEFERRABLE",
	}
	committedBegins = []string{
		"BEGIN READ ONLY", "START TRANSACTION READ ONLY", "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY", "BEGIN", "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
		"SET default_transaction_read_only = on", "BEGIN READ ONLY; SELECT id FROM t WHERE id < 3", "BEGIN READ ONLY; SELECT count(*) FROM t; COMMIT", "BEGIN; SET TRANSACTION READ ONLY",
		"BEGIN ISOLATION LEVEL READ UNCOMMITTED READ ONLY", "SET default_transaction_read_only = off",
	}
	followReads = []string{
		"SELECT id, v FROM t WHERE id < 6 ORDER BY id", "SELECT count(*), sum(n) FROM t", "TABLE w", "SELECT 1", "VALUES (1, 'one'), (2, 'two')", "SELECT 1 / (id - 3) FROM t ORDER BY id",
		"SELECT nothing FROM t", "SELECT public.twice(4), public.fourfold(3)", "SELECT public.complain(v) FROM t WHERE id = 1", "SELECT count(DISTINCT now()) FROM t", "SELECT v FROM noise.t",
		"SELECT current_setting('transaction_read_only'), current_setting('transaction_isolation') FROM t LIMIT 1", "SHOW transaction_read_only", "SHOW transaction_isolation",
		"SELECT '2024-02-03 04:05:06+00'::timestamptz, 1.1::float4, v FROM t WHERE id = 2", "SELECT current_setting('work_mem'), v FROM t WHERE id = 1", "SHOW work_mem", "SHOW TimeZone",
		"EXPLAIN (COSTS off) SELECT v FROM t WHERE n = 1", "SELECT id FROM t WHERE id < 3; SELECT v FROM w", "COPY (SELECT id, v FROM t ORDER BY id) TO STDOUT", "COPY t TO STDOUT",
		"COPY (SELECT 1 / (3 - id) FROM t ORDER BY id) TO STDOUT", "SELECT g, repeat('y', 300) FROM generate_series(1, 40) g", "SELECT id FROM t WHERE id = 1; SELECT 1/0; SELECT 2", "",
		"SELECT current_user, session_user, current_schema()", "SELECT relname FROM pg_class WHERE relname = 't' AND relkind = 'r' ORDER BY 1", "SELECT 1 FROM t WHERE v = 'v3' AND pg_typeof(id)::text = 'integer'",
	}
	// anywhereReads are what a replica may not answer, so that a transaction whose snapshot is there could not run it.
	anywhereReads = []string{
		"SELEC", "SELECT writes(1)", "LOCK TABLE t IN ACCESS SHARE MODE", "DO $$ BEGIN RAISE NOTICE 'from a block'; END $$", "SELECT count(*) FROM pg_class c JOIN t ON c.relname = t.v",
		"SELECT pg_advisory_xact_lock(1)", "SELECT id FROM t WHERE id = 1; SAVEPOINT a", "SELECT id FROM t WHERE id = 1; COMMIT; SELECT 2", "SELECT id FROM t WHERE id = 1 FOR UPDATE",
		"SELECT name FROM pg_cursors ORDER BY name", "SAVEPOINT a; SELECT 1 / (id - 3) FROM t ORDER BY id", "COMMIT; BEGIN READ ONLY", "SELECT txid_current_if_assigned()",
		"PREPARE a AS SELECT v FROM t WHERE id = 7", "EXECUTE a", "DEALLOCATE a", "SELECT missing()",
	}
	followOthers = []string{
		"INSERT INTO t SELECT 99 WHERE false", "UPDATE t SET n = 1 WHERE false", "CREATE TABLE public.t (x int)", "SELECT id FROM t WHERE id = 1 FOR UPDATE", "SET TRANSACTION READ WRITE", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
		"SET LOCAL TimeZone = 'Europe/Paris'", "SET TimeZone = 'America/New_York'", "RESET TimeZone", "SET LOCAL work_mem = '5MB'", "SET work_mem = '6MB'", "SET LOCAL search_path = noise, public", "RESET ALL",
		"SET search_path = noise", "RESET search_path", "BEGIN", "BEGIN READ WRITE", "SET work_mem = 'wrong'", "DELETE FROM t WHERE false", "SET extra_float_digits = 0", "SET DateStyle = 'German'",
		"SET LOCAL statement_timeout = '1min'", "SET TRANSACTION READ ONLY", "SET application_name = 'other'", "SELECT set_config('work_mem', '7MB', true)", "SELECT nextval('none')",
	}
	followCursors = []string{
		"DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id", "DECLARE c SCROLL CURSOR FOR SELECT id, v FROM t ORDER BY id", "FETCH 2 FROM c", "FETCH c", "FETCH BACKWARD 1 FROM c", "MOVE 3 IN c", "CLOSE c", "CLOSE ALL",
		"FETCH ALL FROM c", "FETCH 1 FROM p", "FETCH FIRST FROM c", "DECLARE d CURSOR FOR SELECT 1 / (id - 3) FROM t ORDER BY id", "FETCH d", "FETCH ALL FROM d", "DECLARE d NO SCROLL CURSOR FOR TABLE w",
	}
	followParams = []string{
		"SELECT id, v FROM t WHERE id >= $1 ORDER BY id", "SELECT v FROM t ORDER BY id", "SELECT 10 / $1::int FROM w", "SELECT public.twice($1)", "SELECT id FROM t ORDER BY id", "SELECT $1::text, v FROM w",
		"TABLE w", "SELECT public.fourfold($1::int)", "SELECT current_setting('TimeZone'), $1::text FROM w", "DECLARE c CURSOR FOR SELECT id FROM t WHERE id > $1 ORDER BY id", "FETCH 2 FROM c", "INSERT INTO t SELECT $1 WHERE false",
		"SELECT public.complain($1)", "SHOW work_mem", "COPY w TO STDOUT", "SAVEPOINT a", "ROLLBACK TO a",
	}
)
