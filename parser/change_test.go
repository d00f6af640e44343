package parser

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChangesOfTheSchema(t *testing.T) {
	sad := "sad"
	for sql, want := range map[string][]Change{
		`ALTER TABLE "S".t ADD COLUMN IF NOT EXISTS c varchar(20) COLLATE "C" NOT NULL DEFAULT 'x'::text, DROP d CASCADE`: {
			{Action: AddColumn, Schema: "S", Name: "t", Column: "c", Type: "varchar(20)", Collation: `"C"`, Default: "'x'::text", Constant: true, NotNull: true, IfExists: true},
			{Action: DropColumn, Schema: "S", Name: "t", Column: "d", Cascade: true},
		},
		`ALTER TABLE t ADD c "Mood"[] DEFAULT ARRAY['a']`:                                                {{Action: AddColumn, Name: "t", Column: "c", Type: `"Mood"[]`, Default: "ARRAY['a']", Constant: true}},
		`ALTER TABLE t ADD c timestamptz DEFAULT now()`:                                                  {{Action: AddColumn, Name: "t", Column: "c", Type: "timestamptz", Default: "now()"}},
		`ALTER TABLE t ADD c date DEFAULT 'today'`:                                                       {{Action: AddColumn, Name: "t", Column: "c", Type: "date", Default: "'today'"}},
		`ALTER TABLE t ADD c mood DEFAULT 'sad'::mood`:                                                   {{Action: AddColumn, Name: "t", Column: "c", Type: "mood", Default: "'sad'", Constant: true, Literal: &sad}},
		`ALTER TABLE t ADD c text DEFAULT ('x'::own.type)::text`:                                         {{Action: AddColumn, Name: "t", Column: "c", Type: "text", Default: "'x'::own.type"}},
		`ALTER TABLE t ADD c text DEFAULT -('x'::text)`:                                                  {{Action: AddColumn, Name: "t", Column: "c", Type: "text", Default: "- 'x'::text"}},
		`ALTER TABLE t ADD c text DEFAULT NULL::text`:                                                    {{Action: AddColumn, Name: "t", Column: "c", Type: "text", Constant: true}},
		`CREATE TABLE q PARTITION OF p FOR VALUES IN (f())`:                                              {{Action: CreatePartition, Name: "q", ParentName: "p", Bound: "FOR VALUES IN (f())"}},
		`CREATE TABLE q PARTITION OF p FOR VALUES FROM ('x', MINVALUE) TO (DATE '2026-01-01', MAXVALUE)`: {{Action: CreatePartition, Name: "q", ParentName: "p", Bound: "FOR VALUES FROM ('x', minvalue) TO ('2026-01-01'::date, maxvalue)", Constant: true}},
		`ALTER TABLE t ADD c int DEFAULT -1`:                                                             {{Action: AddColumn, Name: "t", Column: "c", Type: "int", Default: "-1", Constant: true}},
		`ALTER TABLE t ADD c bigserial`:                                                                  {{Action: AddColumn, Name: "t", Column: "c", Type: "bigserial", Default: "nextval", NotNull: true}},
		`ALTER TABLE t ADD c int GENERATED ALWAYS AS (a + 1) STORED`:                                     {{Action: AddColumn, Name: "t", Column: "c", Type: "int", Default: "a + 1", Generated: true}},
		`ALTER TABLE t ADD c int REFERENCES u`:                                                           {{Action: AddColumn, Name: "t", Column: "c", Type: "int", Constant: true, Inline: true}},
		`ALTER TABLE t ALTER c TYPE numeric(10,2) USING c::numeric`:                                      {{Action: AlterColumnType, Name: "t", Column: "c", Type: "numeric(10, 2)", Using: "c::numeric"}},
		`ALTER TABLE IF EXISTS t RENAME COLUMN a TO b`:                                                   {{Action: RenameColumn, Name: "t", Column: "a", To: "b", IfExists: true}},
		`ALTER TABLE t RENAME TO u`:                                                                      {{Action: RenameTable, Name: "t", To: "u"}},
		`ALTER INDEX s.t RENAME TO u`:                                                                    {{Action: RenameTable, Schema: "s", Name: "t", To: "u", AsIndex: true}},
		`ALTER VIEW t RENAME a TO b`:                                                                     {{Action: RenameColumn, Name: "t", Column: "a", To: "b"}},
		`ALTER TYPE t RENAME ATTRIBUTE a TO b`:                                                           {{Action: RenameColumn, Name: "t", Column: "a", To: "b"}},
		`ALTER TABLE t SET SCHEMA s`:                                                                     {{Action: SetSchema, Name: "t", To: "s"}},
		`ALTER TABLE t ALTER a SET NOT NULL, ALTER b DROP NOT NULL`:                                      {{Action: SetNotNull, Name: "t", Column: "a"}, {Action: DropNotNull, Name: "t", Column: "b"}},
		`ALTER TABLE t REPLICA IDENTITY FULL`:                                                            {{Action: Identity, Name: "t", To: "f"}},
		`ALTER TABLE t OWNER TO x`:                                                                       {{Action: Privileges, Name: "t", To: Either}},
		`GRANT SELECT ON t, s.u TO x`:                                                                    {{Action: Privileges, Name: "t", To: Wider}, {Action: Privileges, Schema: "s", Name: "u", To: Wider}},
		`REVOKE SELECT (a, "B"), INSERT ON t FROM x, PUBLIC`:                                             {{Action: Privileges, Name: "t", To: Narrower, Roles: []string{"x", ""}, Privileges: `SELECT ("a", "B"), INSERT`}},
		`REVOKE "select on t from x; drop table u; revoke select" ON t FROM x`:                           {{Action: Privileges, Name: "t", To: Narrower, Roles: []string{"x"}, Privileges: "ALL"}},
		`REVOKE MAINTAIN, SELECT ON t FROM x`:                                                            {{Action: Privileges, Name: "t", To: Narrower, Roles: []string{"x"}, Privileges: "SELECT"}},
		`REVOKE MAINTAIN ON t FROM x`:                                                                    nil,
		`REVOKE ALL ON t FROM CURRENT_USER`:                                                              {{Action: Privileges, Name: "t", To: Narrower, Privileges: "ALL"}},
		`REVOKE SELECT ON ALL TABLES IN SCHEMA s FROM x`:                                                 {{Action: Privileges, Schema: "s", To: Narrower, Roles: []string{"x"}, Privileges: "SELECT"}},
		`REVOKE USAGE ON SCHEMA s FROM x`:                                                                {{Action: Privileges, Schema: "s", To: Narrower, Privileges: "ALL"}},
		`GRANT USAGE ON SEQUENCE q TO x`:                                                                 nil,
		`GRANT a TO b`:                                                                                   {{Action: Membership, To: Wider, Roles: []string{"a"}}},
		`REVOKE ADMIN OPTION FOR a, "B" FROM b`:                                                          {{Action: Membership, To: Narrower, Roles: []string{"a", "B"}}},
		`ALTER GROUP a ADD USER b`:                                                                       {{Action: Membership, To: Wider, Roles: []string{"a"}}},
		`ALTER GROUP a DROP USER b`:                                                                      {{Action: Membership, To: Narrower, Roles: []string{"a"}}},
		`ALTER ROLE a LOGIN`:                                                                             nil,
		`ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x`:                                           nil,
		`ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY`:                              {{Action: RowSecurity, Name: "t", To: Narrower}, {Action: RowSecurity, Name: "t", To: Wider}},
		`ALTER TABLE t DISABLE ROW LEVEL SECURITY`:                                                       {{Action: RowSecurity, Name: "t", To: Wider}},
		`CREATE POLICY p ON s.t USING (true)`:                                                            {{Action: RowPolicy, Schema: "s", Name: "t", To: Wider}},
		`CREATE POLICY p ON t AS RESTRICTIVE USING (true)`:                                               {{Action: RowPolicy, Name: "t", To: Narrower}},
		`ALTER POLICY p ON t USING (false)`:                                                              {{Action: RowPolicy, Name: "t", To: Either}},
		`ALTER POLICY p ON t RENAME TO q`:                                                                {{Action: RowPolicy, Name: "t", To: Wider}},
		`DROP POLICY p ON t`:                                                                             {{Action: RowPolicy, Name: "t", To: Either}},
		`ALTER TABLE t SET UNLOGGED`:                                                                     {{Action: Unknown, Name: "t", To: "SetUnLogged"}},
		`ALTER TABLE t ADD CONSTRAINT k PRIMARY KEY (a)`:                                                 {{Action: AddConstraint, Name: "t", Column: "k", Key: true, Unique: true}},
		`ALTER TABLE p DETACH PARTITION q`:                                                               {{Action: DetachPartition, Name: "q", ParentName: "p"}},
		`CREATE TABLE s.q PARTITION OF p FOR VALUES FROM (1) TO (10)`:                                    {{Action: CreatePartition, Schema: "s", Name: "q", ParentName: "p", Bound: "FOR VALUES FROM (1) TO (10)", Constant: true}},
		`CREATE TABLE t (a int)`:                                                                         {{Action: CreateTable, Name: "t"}},
		`CREATE TEMP TABLE t (a int)`:                                                                    nil,
		`CREATE TABLE t AS SELECT 1`:                                                                     {{Action: Unknown, Name: "t", To: "CREATE TABLE AS"}},
		`SELECT 1 INTO t`:                                                                                {{Action: Unknown, Name: "t", To: "SELECT INTO"}},
		`DROP TABLE IF EXISTS a, s.b CASCADE`:                                                            {{Action: DropTable, Name: "a", IfExists: true, Cascade: true}, {Action: DropTable, Schema: "s", Name: "b", IfExists: true, Cascade: true}},
		`CREATE UNIQUE INDEX i ON t (a)`:                                                                 {{Action: CreateIndex, Name: "t", Column: "i", Unique: true}},
		`DROP INDEX i`:                                                                                   {{Action: DropIndex, Name: "i"}},
		`ALTER TYPE mood ADD VALUE IF NOT EXISTS 'x' AFTER 'y'`:                                          {{Action: AddLabel, Name: "mood", Column: "x", Neighbor: "y", After: true, IfExists: true}},
		`ALTER TYPE mood RENAME VALUE 'x' TO 'z'`:                                                        {{Action: RenameLabel, Name: "mood", Column: "x", To: "z"}},
		`CREATE DOMAIN d AS int`:                                                                         {{Action: CreateType, Name: "d"}},
		`DROP TYPE s.d`:                                                                                  {{Action: DropType, Schema: "s", Name: "d"}},
		`DROP TRIGGER g ON s.t`:                                                                          {{Action: Local, Schema: "s", Name: "t"}},
		`UPDATE t SET a = 1`:                                                                             nil,
		`CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'`:                                     nil,
	} {
		got, err := Definitions(sql + ";")
		if err != nil || len(got) != 1 {
			t.Errorf("%s: %d statements, %v", sql, len(got), err)
			continue
		}
		if diff := cmp.Diff(want, got[0].Changes); diff != "" {
			t.Errorf("%s:\n%s", sql, diff)
		}
	}
}

func TestDefinitionsOfAScript(t *testing.T) {
	got, err := Definitions("SET search_path = s, \"$user\";\nCREATE INDEX CONCURRENTLY i ON t (a); -- the end\nUPDATE t SET a = 1")
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].Kind != Set || !got[1].Alone || got[1].Text != "CREATE INDEX CONCURRENTLY i ON t (a)" || got[2].Kind != Update {
		t.Errorf("%+v", got)
	}
	if _, err := Definitions("CREATE TABLE t (a int); NONSENSE"); err == nil {
		t.Error("what cannot be read is passed over")
	}
}
