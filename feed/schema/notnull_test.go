package schema

import (
	"testing"
)

// A table may say of a column that it inherits that it is never null, as by a key of its own.
func TestWhatHeirsSayOfTheirColumns(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE TABLE forms (id int PRIMARY KEY, v text, "W w" text, CHECK (v <> ' NOT NULL v')); CREATE TABLE letters (PRIMARY KEY (id)) INHERITS (forms);
		CREATE TABLE "Bills b" (x text DEFAULT E'a\n    NOT NULL v,\n' NOT NULL, CHECK (id > 1)) INHERITS (forms) WITH (fillfactor = 70);
		ALTER TABLE "Bills b" ALTER v SET NOT NULL, ALTER "W w" SET NOT NULL`)
	b.bring(t, Indexes)
	const query = `SELECT array_agg(concat_ws(' ', attrelid::regclass, attname, attnotnull, attislocal, pg_get_expr(adbin, adrelid)) ORDER BY attrelid::regclass::text, attnum)
		FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum WHERE attrelid IN ('forms'::regclass, 'letters'::regclass, '"Bills b"'::regclass) AND attnum > 0`
	b.same(t, query)
}

func TestNotNullInWordsOfBefore18(t *testing.T) {
	for text, want := range map[string]string{
		"--\n\nCREATE TABLE s.a (\n    NOT NULL id\n)\nINHERITS (s.b);\n\n": "--\n\nCREATE TABLE s.a (\n)\nINHERITS (s.b);\nALTER TABLE ONLY s.a ALTER COLUMN id SET NOT NULL;\n\n",
		"CREATE UNLOGGED TABLE \"A a\".b (\n    CONSTRAINT a B NOT NULL \"v V\",\n    x integer NOT NULL,\n    CONSTRAINT own NOT NULL w,\n    CONSTRAINT c CHECK ((id > 1))\n)\nINHERITS (s.b)\nWITH (fillfactor='7');\n": "CREATE UNLOGGED TABLE \"A a\".b (\n    x integer NOT NULL,\n    CONSTRAINT c CHECK ((id > 1))\n)\nINHERITS (s.b)\nWITH (fillfactor='7');\n" +
			"ALTER TABLE ONLY \"A a\".b ALTER COLUMN \"v V\" SET NOT NULL;\nALTER TABLE ONLY \"A a\".b ALTER COLUMN w SET NOT NULL;\n",
		"CREATE TABLE a (\n    x integer,\n    NOT NULL id,\n    NOT NULL v\n)\nINHERITS (b);\nCREATE TABLE c (\n    x integer\n);\n": "CREATE TABLE a (\n    x integer\n)\nINHERITS (b);\nALTER TABLE ONLY a ALTER COLUMN id SET NOT NULL;\nALTER TABLE ONLY a ALTER COLUMN v SET NOT NULL;\nCREATE TABLE c (\n    x integer\n);\n",
	} {
		if got := spellNotNull(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{
		"CREATE TABLE a (\n    \"NOT\" integer NOT NULL,\n    x text DEFAULT 'y\n    NOT NULL v,\n'::text,\n    CONSTRAINT c CHECK ((id IS NOT NULL))\n);\n",
		"SELECT\n    NOT NULL v,\n);\n",
		"CREATE TABLE t OF ct (\n    a NOT NULL,\n    \"B\" NOT NULL\n);\nSELECT 1,\n2;\n",
	} {
		if got := spellNotNull(text); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}
