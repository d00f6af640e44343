package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/parser"
	"pgshunt/router"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// withEffects adds to the tables of testdata/routes a function that writes and an
// operator that calls it, and takes away the views, since what those hide is known
// with a catalog only.
const withEffects = `
DO $$ DECLARE v text; BEGIN
	FOR v IN SELECT oid::regclass::text FROM pg_class WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace LOOP
		EXECUTE 'DROP VIEW IF EXISTS ' || v || ' CASCADE';
	END LOOP;
END $$;
CREATE FUNCTION bump(int) RETURNS int LANGUAGE sql AS 'UPDATE accounts SET balance = balance + $1 WHERE id = 1 RETURNING balance';
CREATE FUNCTION writes(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT bump($1) > 0';
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = writes);`

// askTheServer returns an oracle on a server with PostgresML's stand-in and those.
func askTheServer(tb testing.TB) *oracle {
	o, _ := askAServer(tb)
	return o
}

func askAServer(tb testing.TB) (o *oracle, url string) {
	tb.Helper()
	server := pgtest.Replica(tb, pgtest.Options{Settings: map[string]string{"log_statement": "none"}})
	for _, name := range []string{"schema.sql", "replica.sql"} {
		sql, err := os.ReadFile(filepath.Join("../testdata/routes", name))
		if err != nil {
			tb.Fatal(err)
		}
		server.Exec(tb, string(sql))
	}
	server.Exec(tb, withEffects)
	url = server.SocketURL(server.Superuser(), "postgres")
	conn, err := pgconn.Connect(context.Background(), url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	if o, err = newOracle(conn, "postgres"); err != nil {
		tb.Fatal(err)
	}
	if err := o.exec(context.Background(), "SET statement_timeout = '5s'"); err != nil {
		tb.Fatal(err)
	}
	return o, url
}

// routes are the statements of testdata/routes.
func routes(tb testing.TB) (texts []string) {
	tb.Helper()
	files, err := filepath.Glob("../testdata/routes/*.json")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no routes: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		var corpus struct{ Cases []router.Case }
		if err := json.Unmarshal(raw, &corpus); err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		for _, c := range corpus.Cases {
			if strings.TrimSpace(c.SQL) != "" {
				texts = append(texts, c.SQL)
			}
		}
	}
	return texts
}

// paths are the search_paths that texts are tried with.
var paths = [][]string{{"public"}, {"pgml", "public"}, {"public", "pg_catalog"}}

// try asks the oracle about one text and says whether it was run.
func try(t *testing.T, o *oracle, cache *parser.Cache, text string, paths ...[]string) (ran bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, path := range paths {
		o.view.SearchPath = path
		st := parser.Parse(text)
		class, reads := o.reads(st)
		if _, again := o.reads(cache.Statement([]byte(text))); again != reads {
			t.Errorf("%q: from the cache it goes elsewhere", text)
		}
		if !reads {
			continue
		}
		ran = true
		if err := o.exec(ctx, "SET search_path = "+strings.Join(path, ", ")); err != nil {
			t.Fatal(err)
		}
		effect, err := o.check(ctx, text, class)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if effect != "" {
			t.Errorf("%q, search_path %v\n\twould go to a replica, and is no read: %s", text, path, effect)
		}
	}
	return ran
}

// TestReadsOnReplicasAreReads runs what the router takes for reads in read-only
// transactions: the statements of testdata/routes, and each effect in each wrapper
// and before each clause.
func TestReadsOnReplicasAreReads(t *testing.T) {
	o, cache := askTheServer(t), parser.New(parser.Options{})
	texts := routes(t)
	for _, e := range effects {
		base := "SELECT " + e
		texts = append(texts, base, "SELECT id FROM users WHERE "+e+" IS NOT NULL", "SELECT * FROM "+e)
		for _, w := range wrappers {
			texts = append(texts, strings.ReplaceAll(w, "%", base))
		}
	}
	for _, c := range clauses {
		texts = append(texts, "SELECT id FROM users "+c)
	}
	ran := 0
	for _, text := range texts {
		if try(t, o, cache, text, paths...) {
			ran++
		}
	}
	if ran < 150 {
		t.Errorf("only %d of %d texts were taken for reads", ran, len(texts))
	}
}

// TestTheOracleSeesWhatIsNoRead gives it statements that are none.
func TestTheOracleSeesWhatIsNoRead(t *testing.T) {
	o := askTheServer(t)
	for text, seen := range map[string]bool{
		"SELECT nextval('ticket')": true, "SELECT bump(1)": true, "SELECT 1 === 1": true, "SELECT id FROM users FOR UPDATE": true,
		"SELECT txid_current()": true, "SELECT pg_advisory_xact_lock(1)": true, "CREATE TEMP TABLE made (a int)": true, "COMMIT": true,
		"LOCK TABLE users IN SHARE MODE": true, "SELECT lo_creat(-1)": true,
		"SELECT id FROM users": false, "SELECT nothing": false, "SELEC": false, "COPY users TO STDOUT": false,
	} {
		effect, err := o.check(t.Context(), text, router.Read)
		if err != nil || (effect != "") != seen {
			t.Errorf("%s: %q, %v", text, effect, err)
		}
	}
}

// FuzzReads mutates statements and asks a server about those that the router takes for
// reads. Each worker has a server of its own. The input is only what the mutations are
// drawn from, since most bytes changed in SQL make errors of it; what fails is printed,
// and belongs into testdata/routes.
func FuzzReads(f *testing.F) {
	corpus := routes(f)
	for seed := range uint64(20) {
		f.Add(seed)
	}
	o, cache := askTheServer(f), parser.New(parser.Options{})
	f.Fuzz(func(t *testing.T, seed uint64) {
		m := mutator{rand.New(rand.NewPCG(seed, 1)), corpus}
		for range 20 {
			try(t, o, cache, m.mutate(m.pick(corpus)), paths[m.IntN(len(paths))])
		}
	})
}

// With a catalog it decides as the live router does: views, functions, operators and casts
// are what they call.
func TestTheOracleDecidesWithACatalog(t *testing.T) {
	o, url := askAServer(t)
	ctx := t.Context()
	var err error
	if o.sees, err = see(ctx, url, "postgres"); err != nil {
		t.Fatal(err)
	}
	defer o.sees.close()
	if err := o.exec(ctx, `CREATE VIEW hides AS SELECT bump(id) FROM users; CREATE VIEW shows AS SELECT id + 1 AS next FROM users;
		CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1';
		CREATE OPERATOR =+= (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
		CREATE TYPE boxed AS (v int); CREATE FUNCTION boxed(int) RETURNS boxed LANGUAGE sql AS 'SELECT ROW(bump($1))::boxed';
		CREATE CAST (int AS boxed) WITH FUNCTION boxed(int)`); err != nil {
		t.Fatal(err)
	}
	for text, reads := range map[string]bool{
		"SELECT next FROM shows": true, "SELECT twice(id) FROM users": true, "SELECT 1 =+= 2": true, "SELECT id FROM users": true,
		"SELECT * FROM hides": false, "SELECT bump(1)": false, "SELECT 1 === 1": false, "SELECT id::boxed FROM users": false,
	} {
		st := parser.Parse(text)
		if judged, err := o.look(ctx, st); !judged || err != nil {
			t.Fatalf("%s: %v, %v", text, judged, err)
		}
		if _, got := o.reads(st); got != reads {
			t.Errorf("%s: taken for a read: %v", text, got)
		}
		if effect, err := o.check(ctx, text, router.Read); err != nil || (effect == "") != reads {
			t.Errorf("%s: %q, %v", text, effect, err)
		}
	}
	if o.sees.looks != 1 {
		t.Errorf("looked %d times", o.sees.looks)
	}
}
