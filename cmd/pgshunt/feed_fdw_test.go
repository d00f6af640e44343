package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/pgtest"
)

// feedFile runs a command of pgshunt feed on a configuration file, and returns what it prints.
func feedFile(t *testing.T, file, verb string) string {
	t.Helper()
	var out bytes.Buffer
	for _, v := range feedVerbs {
		if v.name != verb {
			continue
		}
		if err := runFeed(t.Context(), feedOptions{config: file, all: true, yes: true}, v, feedStreams{out: &out, err: &out}); err != nil {
			t.Fatalf("%s: %v\n%s", verb, err, out.String())
		}
		return out.String()
	}
	t.Fatalf("no command %q", verb)
	return ""
}

// answer is the only value of a statement's only row, as text.
func answer(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	var text string
	if err := conn.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatalf("%v: %s", err, sql)
	}
	return text
}

// An ordinary user trains, through pgshunt, on what is read on the primary at that moment: the
// relation_name is that of the primary, the reader on the primary the role of the source.
func TestTrainingThroughForeignTables(t *testing.T) {
	primary := pgtest.Primary(t, pgtest.Options{HBA: "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"})
	ml := pgtest.Replica(t)
	primary.Exec(t, `CREATE SCHEMA farm; CREATE TABLE farm."Fields" (id int PRIMARY KEY, rain real, sun real, yield real) PARTITION BY RANGE (id);
		CREATE TABLE farm.fields_1 PARTITION OF farm."Fields" FOR VALUES FROM (0) TO (200); CREATE TABLE farm.fields_2 PARTITION OF farm."Fields" DEFAULT;
		INSERT INTO farm."Fields" SELECT i, i % 17, i % 13, 3 * (i % 17) + 2 * (i % 13) + 5 FROM generate_series(1, 400) i;
		CREATE ROLE source LOGIN PASSWORD 'secret-source'; CREATE ROLE app LOGIN PASSWORD 'secret-app'; CREATE ROLE guest LOGIN PASSWORD 'secret-guest';
		GRANT USAGE ON SCHEMA farm TO source, app, guest; GRANT SELECT ON ALL TABLES IN SCHEMA farm TO source, app; GRANT INSERT ON ALL TABLES IN SCHEMA farm TO app`)
	ml.Exec(t, "CREATE ROLE app LOGIN; CREATE ROLE guest LOGIN; GRANT ALL ON SCHEMA pgml TO app; GRANT ALL ON ALL TABLES IN SCHEMA pgml TO app; GRANT ALL ON ALL SEQUENCES IN SCHEMA pgml TO app")
	config := fmt.Sprintf(`
primary: {url: %q}
replicas:
  - {name: ml1, url: %q, feed: fdw, tables: ["farm.*"], source: {url: %q, password: secret-source}}
routing: {training: {freshness: session}, inference: {freshness: session}}
auth: {users: [{name: app, password: secret-app}, {name: guest, password: secret-guest}]}
`, primary.URL("postgres", "postgres"), ml.URL("postgres", "postgres"), primary.URL("source", "postgres"))
	dir := t.TempDir()
	file := filepath.Join(dir, "feed.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := feedFile(t, file, "apply"); !strings.Contains(out, "import 3 tables of schema farm") || strings.Contains(out, "secret-") {
		t.Errorf("apply says\n%s", out)
	}

	s := serve(t, dir, config)
	connect := func(user string) *pgx.Conn {
		return pgtest.Connect(t, fmt.Sprintf("postgres://%s:secret-%[1]s@127.0.0.1:%d/postgres?sslmode=disable", user, s.port))
	}
	app := connect("app")
	mark, there := primary.Mark(t), ml.Mark(t)
	if got := answer(t, app, `SELECT project || ' ' || deployed FROM pgml.train('harvest', 'regression', 'farm.Fields', 'yield')`); got != "harvest true" {
		t.Errorf("trained: %s", got)
	}
	if st := ml.WaitStatement(t, there, "pgml.train"); st.User != "app" {
		t.Errorf("trained as %s", st.User)
	}
	if st := primary.WaitStatement(t, mark, `FROM farm."Fields"`); st.User != "source" || st.Application != "pgshunt_postgres_ml1" {
		t.Errorf("the primary was read by %s of %s", st.User, st.Application)
	}
	if got := answer(t, app, "SELECT round(pgml.predict('harvest', ARRAY[500::real, 4, 6]))::text"); got != "29" {
		t.Errorf("predicted %s", got)
	}
	// What is committed is seen by the next statement.
	if _, err := app.Exec(t.Context(), `INSERT INTO farm."Fields" VALUES (1000, 10, 10, 0)`); err != nil {
		t.Fatal(err)
	}
	if got := answer(t, app, `SELECT round(pgml.predict('harvest', ARRAY[id::real, rain, sun]))::text FROM farm."Fields" WHERE id = 1000`); got != "55" {
		t.Errorf("predicted %s for a new row", got)
	}
	var err error
	if _, err = connect("guest").Exec(context.Background(), `SELECT * FROM pgml.train('other', 'regression', 'farm.Fields', 'yield')`); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("guest trains: %v", err)
	}
	for _, server := range []*pgtest.Server{primary, ml} {
		for _, l := range server.LogLines(t, 0) {
			if strings.Contains(l.Text, "secret-source") && !strings.Contains(l.Text, "CREATE ROLE") {
				t.Errorf("%s has the password: %s", server.Name, l.Text)
			}
		}
	}
}
