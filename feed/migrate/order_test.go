package migrate

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/feed"
)

// testSituation is a table t with a key, a divided table, and what a replica has of them.
func testSituation(way configs.Feed) *situation {
	t := &feed.Table{Schema: "public", Name: "t", Kind: 'r', Identity: 'd', PrimaryKey: []string{"id"}, IdentityColumns: []string{"id"}, Columns: []feed.Column{
		{Name: "id", Type: "integer", NotNull: true}, {Name: "a", Type: "integer"}, {Name: "b", Type: "text", NotNull: true}, {Name: "v", Type: "character varying(20)"},
	}}
	p := &feed.Table{Schema: "public", Name: "p", Kind: 'p', Identity: 'd', Columns: []feed.Column{{Name: "id", Type: "integer"}}}
	q := &feed.Table{Schema: "public", Name: "q", Kind: 'r', ParentSchema: "public", ParentName: "p", Columns: p.Columns}
	hidden := &feed.Table{Schema: "private", Name: "t", Kind: 'r', Columns: t.Columns}
	replica := map[string]*feed.Table{"public.t": t, "public.p": p, "public.q": q}
	if way == configs.FeedFDW {
		f := *t
		f.Kind = 'f'
		replica["public.t"] = &f
	}
	return &situation{
		feed: way, name: "pub", selection: feed.NewSelection(&configs.Replica{Tables: configs.Patterns{"public.*"}}),
		primary: map[string]*feed.Table{"public.t": t, "public.p": p, "public.q": q, "private.t": hidden}, replica: replica,
		published: map[string]bool{"public.t": true, "public.q": true},
		keys:      map[string][]constraint{"public.t": {{Name: "t_pkey", Type: 'p', Columns: []string{"id"}}, {Name: "t_a_check", Type: 'c', Def: "CHECK (a > 0)", Columns: []string{"a"}}}},
		replicaKeys: map[string][]constraint{"public.t": {
			{Name: "t_a_check", Type: 'c', Def: "CHECK (a > 0)", Columns: []string{"a"}},
		}},
		indexes: map[string]index{"public.u": {table: "public.t", unique: true, def: "CREATE UNIQUE INDEX u"}, "public.i": {table: "public.t", def: "CREATE INDEX i"}},
		users:   map[string][]string{"public.mood": {"public.t"}},
		locks:   locksFirst,
	}
}

func told(o *Order) (text []string) {
	for _, part := range []struct {
		word  string
		steps []Step
	}{{"before", o.Before}, {"between", o.Between}, {"after", o.After}} {
		for _, s := range part.steps {
			what := s.SQL
			if what == "" {
				what = string(s.Kind) + " " + s.Name
			}
			text = append(text, part.word+": "+what)
		}
	}
	return text
}

// orderCase is a change, and what is to be done for it where; refusal is a part of the error.
type orderCase struct {
	feed    configs.Feed // logical if empty
	change  Change
	set     func(*situation)
	want    []string
	refusal string
}

const table = `ALTER TABLE "public"."t" `

func orderCases() map[string]orderCase {
	on := func(c Change) Change {
		if c.Name == "" {
			c.Name = "t"
		}
		c.Schema = "public"
		return c
	}
	return map[string]orderCase{
		"a column comes to the replica first": {change: on(Change{Action: addColumn, Column: "c", Type: "integer", Constant: true, Default: "'5'::integer", NotNull: true}), want: []string{
			"before: " + table + `ADD COLUMN "c" integer DEFAULT '5'::integer`, "after: " + table + `ALTER COLUMN "c" SET NOT NULL`,
		}},
		"a value that only the primary knows": {change: on(Change{Action: addColumn, Column: "c", Type: "uuid", Default: "gen_random_uuid()", NotNull: true}), want: []string{
			"before: " + table + `ADD COLUMN "c" text DEFAULT 'nobody''s'`, "after: fetch t", "after: caught up ", "after: " + table + `ALTER COLUMN "c" SET NOT NULL`,
		}, set: func(s *situation) { s.mark = "nobody's" }},
		"a value that cannot be asked for by a key": {change: on(Change{Action: addColumn, Column: "c", Type: "uuid", Default: "gen_random_uuid()"}), set: func(s *situation) {
			t := *s.primary["public.t"]
			t.IdentityColumns, t.PrimaryKey = nil, nil
			s.primary["public.t"] = &t
		}, refusal: `ALTER COLUMN "c" SET DEFAULT gen_random_uuid(); then UPDATE "public"."t" SET "c" = gen_random_uuid() WHERE "c" IS NULL`},
		"a column that is there":                     {change: on(Change{Action: addColumn, Column: "a", Type: "text", IfExists: true})},
		"a column of a table that is not fed":        {change: Change{Action: addColumn, Schema: "private", Name: "t", Column: "c", Type: "integer", Constant: true}},
		"a column that goes leaves the replica last": {change: on(Change{Action: dropColumn, Column: "b"}), want: []string{"before: " + table + `ALTER COLUMN "b" DROP NOT NULL`, "after: " + table + `DROP COLUMN IF EXISTS "b"`}},
		"checks of a column that goes":               {change: on(Change{Action: dropColumn, Column: "a"}), want: []string{"before: " + table + `DROP CONSTRAINT IF EXISTS "t_a_check"`, "after: " + table + `DROP COLUMN IF EXISTS "a"`}},
		"a column of the key":                        {change: on(Change{Action: dropColumn, Column: "id"}), refusal: "by which rows are found"},
		"a column with all that depends on it":       {change: on(Change{Action: dropColumn, Column: "a", Cascade: true}), refusal: "CASCADE"},
		"a wider type comes first":                   {change: on(Change{Action: alterColumnType, Column: "a", Type: "bigint"}), want: []string{"before: " + table + `ALTER COLUMN "a" TYPE bigint`}},
		"a wider type with a binary subscription": {change: on(Change{Action: alterColumnType, Column: "a", Type: "bigint"}), set: func(s *situation) { s.binary = true }, want: []string{
			`before: ALTER SUBSCRIPTION "pub" SET (binary = false)`, "before: " + table + `ALTER COLUMN "a" TYPE bigint`, `after: ALTER SUBSCRIPTION "pub" SET (binary = true)`,
		}},
		"a narrower type comes last": {change: on(Change{Action: alterColumnType, Column: "v", Type: "character varying(10)"}), want: []string{"after: " + table + `ALTER COLUMN "v" TYPE character varying(10)`}},
		"another type":               {change: on(Change{Action: alterColumnType, Column: "a", Type: "text"}), refusal: "cannot follow"},
		"another type with a copy": {change: on(Change{Action: alterColumnType, Column: "a", Type: "text"}), set: func(s *situation) { s.recopy = true }, want: []string{
			"before: unpublish t", "before: refresh ", `after: TRUNCATE "public"."t"; ` + table + `ALTER COLUMN "a" DROP DEFAULT, ALTER COLUMN "a" TYPE text USING NULL`, "after: publish t", "after: refresh ", "after: copied t",
		}},
		"NOT NULL that goes":       {change: on(Change{Action: dropNotNull, Column: "b"}), want: []string{"before: " + table + `ALTER COLUMN "b" DROP NOT NULL`}},
		"NOT NULL that comes":      {change: on(Change{Action: setNotNull, Column: "a"}), want: []string{"after: " + table + `ALTER COLUMN "a" SET NOT NULL`}},
		"a table that goes":        {change: on(Change{Action: dropTable}), want: []string{"after: refresh ", "after: drop t"}},
		"a table that comes":       {change: on(Change{Action: createTable, Name: "n"}), want: []string{"after: table n", "after: publish n", "after: refresh ", "after: copied n", "after: keys n"}},
		"a table that nobody asks": {change: Change{Action: createTable, Schema: "private", Name: "n"}},
		"a partition comes first": {change: on(Change{Action: createPartition, Name: "n", ParentSchema: "public", ParentName: "p", Bound: "DEFAULT", Constant: true}), want: []string{
			`before: CREATE TABLE "public"."n" PARTITION OF "public"."p" DEFAULT`, "after: publish n", "after: refresh ", "after: copied n",
		}},
		"a table that becomes a partition": {change: on(Change{Action: attachPartition, Name: "n", ParentSchema: "public", ParentName: "p"}), refusal: "would not reach"},
		"a fed table that becomes a partition": {change: on(Change{Action: attachPartition, ParentSchema: "public", ParentName: "p", Bound: "DEFAULT", Constant: true}), want: []string{
			`after: ALTER TABLE "public"."p" ATTACH PARTITION "public"."t" DEFAULT`,
		}},
		"a partition whose bounds a function tells": {change: on(Change{Action: attachPartition, ParentSchema: "public", ParentName: "p", Bound: "FOR VALUES IN (f())"}), refusal: "worked out"},
		"the time of the statement": {change: on(Change{Action: addColumn, Column: "c", Type: "timestamp with time zone", Default: "now()", NotNull: true}), want: []string{
			"before: " + table + `ADD COLUMN "c" text DEFAULT 'nobody''s'`, "after: value t",
		}, set: func(s *situation) { s.mark = "nobody's" }},
		"the time of each row": {change: on(Change{Action: addColumn, Column: "c", Type: "timestamp with time zone", Default: "clock_timestamp()"}), want: []string{
			"before: " + table + `ADD COLUMN "c" text DEFAULT ''`, "after: fetch t",
		}},
		"a time of a user's type": {change: on(Change{Action: addColumn, Column: "c", Type: "public.moment", Default: "now()"}), refusal: "only the primary knows"},
		"another name of a table": {change: on(Change{Action: renameTable, To: "u"}), want: []string{
			`between: ALTER SUBSCRIPTION "pub" DISABLE`, "between: " + table + `RENAME TO "u"`, `after: ALTER SUBSCRIPTION "pub" ENABLE`,
		}},
		"another name of a table, by a client": {change: on(Change{Action: renameTable, To: "u"}), set: func(s *situation) { s.locks = locksNever }, refusal: "needs a lock"},
		"a schema that is not fed":             {change: on(Change{Action: setSchema, To: "private"}), refusal: "would not be fed"},
		"a check that goes":                    {change: on(Change{Action: dropConstraint, Column: "t_a_check"}), want: []string{"before: " + table + `DROP CONSTRAINT IF EXISTS "t_a_check"`}},
		"NOT NULL that goes by its name": {change: on(Change{Action: dropConstraint, Column: "t_b_not_null"}), set: func(s *situation) {
			s.keys["public.t"] = append(s.keys["public.t"], constraint{Name: "t_b_not_null", Type: 'n', Columns: []string{"b"}})
		}, want: []string{"before: " + table + `ALTER COLUMN "b" DROP NOT NULL`}},
		"the key that goes":        {change: on(Change{Action: dropConstraint, Column: "t_pkey"}), refusal: "are found by"},
		"a unique index that goes": {change: on(Change{Action: dropIndex, Column: "u"}), want: []string{`before: DROP INDEX IF EXISTS "public"."u"`}},
		"another index that goes":  {change: on(Change{Action: dropIndex, Column: "i"}), want: []string{`after: DROP INDEX IF EXISTS "public"."i"`}},
		"a value of an enum":       {change: on(Change{Action: addLabel, Name: "mood", Column: "x", Neighbor: "y"}), want: []string{`before: ALTER TYPE "public"."mood" ADD VALUE IF NOT EXISTS 'x' BEFORE 'y'`}},
		"no replica identity":      {change: on(Change{Action: identity, To: "n"}), refusal: "stop updates"},
		"what nobody knows":        {change: on(Change{Action: unknown, To: "SetUnLogged"}), refusal: "cannot be ordered"},
		"a table made by a query":  {change: on(Change{Action: unknown, Name: "n", To: "CREATE TABLE AS"}), refusal: "CREATE TABLE first"},
		"a schema that goes":       {change: Change{Action: unknown, Schema: "public", To: "DROP SCHEMA"}, refusal: "schema with fed tables"},
		"a comment":                {change: on(Change{Action: local})},
		"a foreign table": {feed: configs.FeedFDW, change: on(Change{Action: renameColumn, Column: "a", To: "z"}), set: func(s *situation) { s.options = map[string]bool{"public.t.a": true} }, want: []string{
			`after: ALTER FOREIGN TABLE "public"."t" RENAME COLUMN "a" TO "z"; ALTER FOREIGN TABLE "public"."t" ALTER COLUMN "z" OPTIONS (SET column_name 'z')`,
		}},
		"a copy": {feed: configs.FeedDump, change: on(Change{Action: dropColumn, Column: "b"}), want: []string{"after: " + table + `DROP COLUMN IF EXISTS "b"`}},
		"a column of a copy that is never null": {feed: configs.FeedDump, change: on(Change{Action: addColumn, Column: "c", Type: "integer", Constant: true, Default: "5", NotNull: true}), want: []string{
			"after: " + table + `ADD COLUMN IF NOT EXISTS "c" integer DEFAULT 5`, "after: " + table + `ALTER COLUMN "c" SET NOT NULL`,
		}},
		"a column of a copy whose values only the primary has": {feed: configs.FeedDump, change: on(Change{Action: addColumn, Column: "c", Type: "integer", Default: "f()", NotNull: true}), want: []string{
			"after: " + table + `ADD COLUMN IF NOT EXISTS "c" integer`,
		}},
		"native": {feed: configs.FeedNative, change: on(Change{Action: dropColumn, Column: "b"})},
	}
}

func TestOrders(t *testing.T) {
	for name, c := range orderCases() {
		way := c.feed
		if way == "" {
			way = configs.FeedLogical
		}
		s := testSituation(way)
		if c.set != nil {
			c.set(s)
		}
		o, err := orderOf([]Change{c.change}, s)
		var refusal *Refusal
		switch {
		case c.refusal != "":
			if !errors.As(err, &refusal) || !strings.Contains(err.Error(), c.refusal) || refusal.Advice == "" {
				t.Errorf("%s: %v, want a refusal with %q", name, err, c.refusal)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			if diff := cmp.Diff(c.want, told(o)); diff != "" {
				t.Errorf("%s:\n%s", name, diff)
			}
			if o.Applied != (way == configs.FeedLogical && len(o.After) > 0) {
				t.Errorf("%s: waits %t", name, o.Applied)
			}
		}
	}
}

// A letter box is there before the primary has the new name, and goes before binary comes back.
func TestOrderOfANewColumnName(t *testing.T) {
	s := testSituation(configs.FeedLogical)
	s.binary, s.mark = true, "nobody's"
	o, err := orderOf([]Change{{Action: renameColumn, Schema: "public", Name: "t", Column: "b", To: "z"}}, s)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Before) != 2 || !strings.Contains(o.Before[1].SQL, "ENABLE ALWAYS TRIGGER") || !strings.Contains(o.Before[1].SQL, "text DEFAULT 'nobody''s'") || len(o.After) != 2 ||
		!strings.HasSuffix(o.After[0].SQL, `RENAME COLUMN "b" TO "z"`) || !strings.Contains(o.After[1].SQL, "binary = true") {
		t.Errorf("%q", told(o))
	}
}

func TestWidths(t *testing.T) {
	for _, c := range []struct {
		from, to         string
		widens, narrowed bool
	}{
		{"integer", "bigint", true, false},
		{"bigint", "integer", false, true},
		{"integer", "numeric", true, false},
		{"integer", "numeric(5,2)", false, false},
		{"numeric", "integer", false, true},
		{"numeric(5,2)", "integer", false, false}, // later rows need more room
		{"numeric(10,2)", "numeric(12,2)", true, false},
		{"numeric(10,2)", "numeric(12,3)", false, false}, // older rows would not have the zero
		{"numeric(10,2)", "numeric(8,1)", false, true},
		{"numeric", "numeric(8,1)", false, true},
		{"real", "double precision", false, false}, // 0.1 is not 0.1
		{"character varying(10)", "character varying(20)", true, false},
		{"character varying(10)", "text", true, false},
		{"text", "character varying(10)", false, true},
		{"character(10)", "text", false, false}, // the blanks
		{"json", "jsonb", true, false},
		{"jsonb", "json", false, false},
		{"date", "timestamp without time zone", true, false},
		{"date", "timestamp with time zone", false, false},
		{"timestamp without time zone", "timestamp with time zone", false, false},
		{"timestamp(3) without time zone", "timestamp without time zone", true, false},
		{"integer", "text", false, false},
		{"public.mood", "text", false, false},
		{"integer[]", "bigint[]", false, false},
	} {
		if got := wider(c.from, c.to); got != c.widens {
			t.Errorf("%s to %s widens: %t", c.from, c.to, got)
		}
		if got := narrower(c.from, c.to); got != c.narrowed {
			t.Errorf("%s to %s narrows: %t", c.from, c.to, got)
		}
	}
}

// A column that a statement drops and adds again is not there twice on a replica.
func TestOrderOfAColumnThatIsReplaced(t *testing.T) {
	for _, way := range []configs.Feed{configs.FeedLogical, configs.FeedDump} {
		s := testSituation(way)
		changes := []Change{
			{Action: dropColumn, Schema: "public", Name: "t", Column: "b"},
			{Action: addColumn, Schema: "public", Name: "t", Column: "b", Type: "text", Constant: true},
		}
		var refusal *Refusal
		if o, err := orderOf(changes, s); !errors.As(err, &refusal) {
			t.Errorf("%s: %v, %v", way, o, err)
		}
		changes[1].Column = "c"
		if _, err := orderOf(changes, s); err != nil {
			t.Errorf("%s: another column: %v", way, err)
		}
	}
}
