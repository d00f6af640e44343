package schema

import (
	"testing"
)

func TestOptionsOfTheServersOwnAreLeftOut(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE TABLE "o d" (id int PRIMARY KEY, "B c" text, c text DEFAULT E'it''s\nALTER TABLE ONLY a ALTER COLUMN b SET (pg_attver=1);\n'); COMMENT ON COLUMN "o d".c IS E'\nALTER TABLE ONLY a ALTER COLUMN b SET (pg_attver=1);\n'`)
	exec(t, b.primary, `ALTER TABLE "o d" ALTER "B c" SET (n_distinct = -0.5, n_distinct_inherited = 7)`)
	// As PostgreSQL 17.12 does by itself.
	exec(t, b.primary, `SET allow_system_table_mods = on; UPDATE pg_attribute SET attoptions = array_prepend('pg_attver=22', attoptions)
		WHERE attrelid = '"o d"'::regclass AND attnum > 0 AND coalesce(array_to_string(attoptions, ' '), '') !~ 'pg_attver'`)
	b.bring(t, Indexes)
	const query = `SELECT array_agg(attname || coalesce(array_to_string(ARRAY(SELECT o FROM unnest(attoptions) o WHERE o !~ '^pg_attver='), ' '), '') || coalesce(pg_get_expr(adbin, adrelid), '') || coalesce(col_description(attrelid, attnum), '') ORDER BY attnum)
		FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid = '"o d"'::regclass AND attnum > 0`
	b.same(t, query)
}

func TestCompressionIsLeftOutWhereItIsNotKnown(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE TABLE "c c" (id int PRIMARY KEY, "B b" text DEFAULT E'\nALTER TABLE ONLY public."c c" ALTER COLUMN "B b" SET COMPRESSION pglz;\n')`)
	want := ""
	if major(b.primary) >= columnCompression {
		exec(t, b.primary, `ALTER TABLE "c c" ALTER "B b" SET COMPRESSION pglz`)
		if major(b.replica) >= columnCompression {
			want = "p"
		}
	}
	b.bring(t, Indexes)
	var got string
	if err := b.replica.QueryRow(t.Context(), `SELECT coalesce(to_jsonb(a) ->> 'attcompression', '') FROM pg_attribute a WHERE attrelid = '"c c"'::regclass AND attname = 'B b'`).Scan(&got); err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
}

func TestOnlyOptionsOfColumnsLeaveTheText(t *testing.T) {
	const option = "ALTER TABLE ONLY s.\"a b\" ALTER COLUMN c SET (pg_attver=1);\n"
	for text, want := range map[string]string{
		option:                            "",
		"a;\n" + option + option + "b;\n": "a;\nb;\n",
		"ALTER FOREIGN TABLE ONLY t ALTER COLUMN \"x \"\"y\" SET (n_distinct=5, pg_attver=1, n_distinct_inherited=-1);\n": "ALTER FOREIGN TABLE ONLY t ALTER COLUMN \"x \"\"y\" SET (n_distinct=5, n_distinct_inherited=-1);\n",
		"-- it's\n" + option:                        "-- it's\n",
		"a;\n\n" + option:                           "a;\n\n",
		"SELECT 'it''s\n" + option + "';\n":         "SELECT 'it''s\n" + option + "';\n",
		"SELECT \"\n" + option + "\";\n" + option:   "SELECT \"\n" + option + "\";\n",
		"AS $_$ it's $$\n" + option + "$_$;\n":      "AS $_$ it's $$\n" + option + "$_$;\n",
		"x - $1 -- \n" + option + "'" + option:      "x - $1 -- \n'" + option,
		"ALTER TABLE t ADD c int;\n":                "ALTER TABLE t ADD c int;\n",
		"ALTER TABLE ONLY t ALTER COLUMN c SET (":   "ALTER TABLE ONLY t ALTER COLUMN c SET (",
		"SELECT $é$\n" + option + "$é$;\n" + option: "SELECT $é$\n" + option + "$é$;\n",
	} {
		if got := settable(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
