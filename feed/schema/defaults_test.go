package schema

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/feed"
)

// later are defaults that call what came with a version. The last one only looks so.
var later = []struct {
	since       int
	column, sql string
}{
	{14, "b", "timestamp DEFAULT date_bin('1 day', now()::timestamp, 'epoch') NOT NULL"},
	{16, "n", "float8 DEFAULT (random_normal() + 1)"},
	{18, `"U u"`, "uuid DEFAULT uuidv7() NOT NULL"},
	{13, "t", `text DEFAULT 'uuidv7() date_bin('`},
}

func TestDefaultsThatCallWhatAReplicaHasNot(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE TABLE heads (id int PRIMARY KEY, v text DEFAULT 'x')`)
	var want []string
	from, to := major(b.primary), major(b.replica)
	for _, l := range later {
		if from < l.since {
			continue
		}
		exec(t, b.primary, "ALTER TABLE heads ADD "+l.column+" "+l.sql)
		if to >= l.since {
			want = append(want, strings.Trim(l.column, `"`))
		}
	}
	exec(t, b.primary, "CREATE TABLE body () INHERITS (heads)")
	if from >= 18 {
		exec(t, b.primary, "ALTER TABLE ONLY body ALTER v SET DEFAULT uuidv7()::text")
	}
	b.bring(t, Indexes)
	var got []string
	if err := b.replica.QueryRow(t.Context(), `SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
		WHERE attrelid = 'heads'::regclass AND attname <> 'v'`).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	drift, err := Drift(t.Context(), b.Run)
	if err != nil || len(drift) > 0 {
		t.Errorf("%+v, %v", drift, err)
	}
}

func TestDefaultsLeaveTheText(t *testing.T) {
	table := &feed.Table{Schema: "s", Name: "A a", Columns: []feed.Column{
		{Name: "id", Default: "uuidv7()"},
		{Name: `B "b`, Default: "(uuidv7())::text"},
		{Name: "c", Default: "'uuidv7()'::text"},
		{Name: "d", Default: "own.uuidv7()"},
		{Name: "e", Default: `"uuidv7"('x')`},
		{Name: "f", Default: "uuidv7()", Generated: 's'},
	}}
	barred := map[string]map[string]string{"s.A a": unknown(table, []string{"uuidv7"})}
	if diff := cmp.Diff(map[string]string{"id": "uuidv7()", `B "b`: "(uuidv7())::text"}, barred["s.A a"]); diff != "" {
		t.Fatal(diff)
	}
	text := "--\n\nCREATE TABLE s.\"A a\" (\n    id uuid DEFAULT uuidv7() NOT NULL,\n    \"B \"\"b\" text COLLATE pg_catalog.\"C\" DEFAULT (uuidv7())::text,\n    c text DEFAULT 'uuidv7()'::text,\n    x text DEFAULT '\n    id DEFAULT uuidv7()'\n);\n" +
		"CREATE TABLE s.b (\n    id uuid DEFAULT uuidv7()\n);\nALTER TABLE ONLY s.\"A a\" ALTER COLUMN id SET DEFAULT uuidv7();\nALTER TABLE ONLY s.b ALTER COLUMN id SET DEFAULT uuidv7();\n"
	want := "--\n\nCREATE TABLE s.\"A a\" (\n    id uuid NOT NULL,\n    \"B \"\"b\" text COLLATE pg_catalog.\"C\",\n    c text DEFAULT 'uuidv7()'::text,\n    x text DEFAULT '\n    id DEFAULT uuidv7()'\n);\n" +
		"CREATE TABLE s.b (\n    id uuid DEFAULT uuidv7()\n);\nALTER TABLE ONLY s.b ALTER COLUMN id SET DEFAULT uuidv7();\n"
	if diff := cmp.Diff(want, withoutDefaults(text, barred)); diff != "" {
		t.Error(diff)
	}
}
