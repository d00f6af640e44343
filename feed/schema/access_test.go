package schema

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
)

// Roles of the test: r_far is of the primary alone, r_own of the replica alone, r_bob and r_far are members of
// r_grp on the primary, and the configuration calls r_here on the replica what r_there is on the primary.
const accessRoles = `DROP SCHEMA IF EXISTS s CASCADE; DO $$ DECLARE r text; BEGIN FOREACH r IN ARRAY ARRAY['r_ann', 'r_bob', 'r_grp', 'r_far', 'r_own', 'r_here', 'r_there'] LOOP
	IF to_regrole(r) IS NOT NULL THEN EXECUTE 'DROP OWNED BY ' || r || ' CASCADE; DROP ROLE ' || r; END IF; END LOOP; END $$; `

const (
	accessOnPrimary = accessRoles + `CREATE ROLE r_ann LOGIN; CREATE ROLE r_bob LOGIN; CREATE ROLE r_grp; CREATE ROLE r_far; CREATE ROLE r_there; GRANT r_grp TO r_bob, r_far;
		CREATE SCHEMA s; CREATE TABLE s.t (id int, own text, secret text); INSERT INTO s.t VALUES (1, 'r_ann', 'x'), (2, 'r_bob', 'y'); GRANT USAGE ON SCHEMA s TO PUBLIC; `
	accessOnReplica = accessRoles + `CREATE ROLE r_ann LOGIN; CREATE ROLE r_bob LOGIN; CREATE ROLE r_grp; CREATE ROLE r_own LOGIN; CREATE ROLE r_here LOGIN;
		CREATE SCHEMA s; CREATE TABLE s.t (id int, own text, secret text); INSERT INTO s.t VALUES (1, 'r_ann', 'x'), (2, 'r_bob', 'y'); GRANT USAGE ON SCHEMA s TO PUBLIC; `
)

// Each case is what the two servers have, what is told of it, and what a role reads on the replica after it
// has been aligned: "" is an error.
var accessCases = []struct {
	name             string
	primary, replica string
	want             []string
	reads            map[string]string // role: query -> ids
}{
	{name: "nothing given", reads: map[string]string{"r_ann": ""}},
	{
		name: "a privilege that was taken", replica: "GRANT SELECT, INSERT ON s.t TO r_ann",
		want:  []string{"privileges of \"r_ann\": nothing on the primary, INSERT here!", "privileges of \"r_ann\": nothing on the primary, SELECT here!"},
		reads: map[string]string{"r_ann": ""},
	},
	{
		name: "a privilege that was given", primary: "GRANT SELECT ON s.t TO r_ann, r_far",
		want: []string{"privileges of \"r_ann\": SELECT on the primary, nothing here"}, reads: map[string]string{"r_ann": "1,2"},
	},
	{
		name: "columns instead of the whole", primary: "GRANT SELECT (id) ON s.t TO r_ann", replica: "GRANT SELECT ON s.t TO r_ann",
		want: []string{"privileges of \"r_ann\": nothing on the primary, SELECT here!"}, reads: map[string]string{"r_ann": "1,2", "r_ann secret": ""},
	},
	{
		name: "another column", primary: "GRANT SELECT (id) ON s.t TO r_ann", replica: "GRANT SELECT (id, secret) ON s.t TO r_ann",
		want: []string{"privileges of \"r_ann\": nothing on the primary, SELECT (\"secret\") here!"}, reads: map[string]string{"r_ann": "1,2", "r_ann secret": ""},
	},
	{
		name: "everybody no more", primary: "GRANT SELECT ON s.t TO r_ann", replica: "GRANT SELECT ON s.t TO PUBLIC",
		want:  []string{"privileges of PUBLIC: nothing on the primary, SELECT here!", "privileges of \"r_ann\": SELECT on the primary, nothing here"},
		reads: map[string]string{"r_ann": "1,2", "r_bob": ""},
	},
	{name: "by a group on the primary", primary: "GRANT SELECT ON s.t TO r_grp", replica: "GRANT SELECT ON s.t TO r_bob, r_grp", reads: map[string]string{"r_bob": "1,2"}},
	{
		name: "by a group that has other members here", primary: "GRANT SELECT ON s.t TO r_grp", replica: "GRANT r_grp TO r_ann; GRANT SELECT ON s.t TO r_grp",
		want: []string{
			"privileges of \"r_grp\": nothing on the primary, SELECT here (it also gives it to r_ann, a member here, and the primary does not)!",
			"privileges of \"r_bob\": SELECT on the primary, nothing here",
		},
		reads: map[string]string{"r_ann": "", "r_bob": "1,2"},
	},
	{
		name: "by a group that has the same members here", primary: "GRANT SELECT ON s.t TO r_grp; GRANT SELECT (id) ON s.t TO r_ann", replica: "GRANT r_grp TO r_bob; GRANT SELECT (id) ON s.t TO r_ann",
		want: []string{"privileges of \"r_grp\": SELECT on the primary, nothing here"}, reads: map[string]string{"r_ann": "1,2", "r_bob": "1,2"},
	},
	{
		name: "more by a group here than by oneself", primary: "GRANT SELECT ON s.t TO r_grp; GRANT SELECT (id) ON s.t TO r_ann", replica: "GRANT r_grp TO r_ann; GRANT SELECT (id) ON s.t TO r_ann",
		want: []string{"privileges of \"r_bob\": SELECT on the primary, nothing here"}, reads: map[string]string{"r_ann": "1,2", "r_ann secret": "", "r_bob": "1,2"},
	},
	{
		name: "the owner's members here", primary: "ALTER TABLE s.t OWNER TO r_grp", replica: "GRANT r_grp TO r_ann, r_bob",
		want: []string{"privileges of \"r_bob\": SELECT on the primary, nothing here"}, reads: map[string]string{"r_ann": "", "r_bob": "1,2"},
	},
	{name: "a role of the replica's own", replica: "GRANT SELECT ON s.t TO r_own", reads: map[string]string{"r_own": "1,2"}},
	{
		name: "another owner", primary: "ALTER TABLE s.t OWNER TO r_ann", replica: "GRANT SELECT ON s.t TO r_bob",
		want:  []string{"privileges of \"r_bob\": nothing on the primary, SELECT here!", "privileges of \"r_ann\": SELECT on the primary, nothing here"},
		reads: map[string]string{"r_ann": "1,2", "r_bob": ""},
	},
	{
		name: "the schema was closed", primary: "GRANT SELECT ON s.t TO r_ann, r_bob; REVOKE USAGE ON SCHEMA s FROM PUBLIC; GRANT USAGE ON SCHEMA s TO r_bob", replica: "GRANT SELECT ON s.t TO r_ann, r_bob",
		want: []string{"privileges of \"r_ann\": nothing on the primary, SELECT here!"}, reads: map[string]string{"r_ann": "", "r_bob": "1,2"},
	},
	{
		name: "everybody who may use the schema", primary: "GRANT SELECT ON s.t TO PUBLIC; REVOKE USAGE ON SCHEMA s FROM PUBLIC; GRANT USAGE ON SCHEMA s TO r_bob", replica: "GRANT SELECT ON s.t TO PUBLIC",
		want:  []string{"privileges of PUBLIC: nothing on the primary, SELECT here!", "privileges of \"r_bob\": SELECT on the primary, nothing here"},
		reads: map[string]string{"r_ann": "", "r_bob": "1,2", "r_own": ""},
	},
	{
		name: "another name", primary: "GRANT SELECT ON s.t TO r_there", replica: "GRANT INSERT ON s.t TO r_here",
		want:  []string{"privileges of \"r_here\": nothing on the primary, INSERT here!", "privileges of \"r_here\": SELECT on the primary, nothing here"},
		reads: map[string]string{"r_here": "1,2"},
	},
	{
		name: "given on", primary: "GRANT SELECT ON s.t TO r_ann", replica: "GRANT SELECT ON s.t TO r_ann WITH GRANT OPTION; SET ROLE r_ann; GRANT SELECT ON s.t TO r_bob; RESET ROLE",
		want:  []string{"privileges of \"r_ann\": SELECT on the primary, SELECT WITH GRANT OPTION here!", "privileges of \"r_bob\": nothing on the primary, SELECT here!"},
		reads: map[string]string{"r_ann": "1,2", "r_bob": ""},
	},
	{
		name: "row-level security", primary: "GRANT SELECT ON s.t TO r_ann; ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON s.t USING (own = CURRENT_USER)", replica: "GRANT SELECT ON s.t TO r_ann",
		want: []string{"row security: on on the primary, off here!", "policy: \"mine\" for ALL to PUBLIC on the primary, nothing here!"}, reads: map[string]string{"r_ann": "1"},
	},
	{
		name: "row-level security no more", primary: "GRANT SELECT ON s.t TO r_ann", replica: "GRANT SELECT ON s.t TO r_ann; ALTER TABLE s.t ENABLE ROW LEVEL SECURITY",
		want: []string{"row security: off on the primary, on here"}, reads: map[string]string{"r_ann": "1,2"},
	},
	{
		name:    "a policy that changed, one that went, one of the replica's own",
		primary: "GRANT SELECT ON s.t TO r_ann; ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON s.t FOR SELECT TO r_ann, r_far USING (id = 2)",
		replica: `GRANT SELECT ON s.t TO r_ann, r_own; ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON s.t FOR SELECT TO r_ann USING (true); CREATE POLICY gone ON s.t USING (true);
			CREATE POLICY own ON s.t TO r_own USING (id = 1)`,
		want: []string{
			"policy: nothing on the primary, \"gone\" for ALL to PUBLIC here!",
			"policy: \"p\" for SELECT to \"r_ann\" on the primary, \"p\" for SELECT to \"r_ann\" here (their expressions differ)!",
		},
		reads: map[string]string{"r_ann": "2", "r_own": "1"},
	},
	{
		name: "a policy that restricts members of a role that is not here",
		primary: `GRANT SELECT ON s.t TO r_bob; ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY all_rows ON s.t USING (true); CREATE ROLE r_tmp; GRANT r_tmp TO r_bob;
			CREATE POLICY less ON s.t AS RESTRICTIVE TO r_tmp USING (id = 2)`,
		replica: "GRANT SELECT ON s.t TO r_bob; ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY all_rows ON s.t USING (true)",
		want:    []string{"policy: restrictive \"less\" for ALL to \"r_bob\" on the primary, nothing here!"}, reads: map[string]string{"r_bob": "2"},
	},
	{
		name: "a policy that restricts members of a role that has none here",
		primary: `GRANT SELECT ON s.t TO r_bob; ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY all_rows ON s.t USING (true);
			CREATE POLICY less ON s.t AS RESTRICTIVE TO r_grp USING (id = 2)`,
		replica: "GRANT SELECT ON s.t TO r_bob; ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY all_rows ON s.t USING (true)",
		want:    []string{"policy: restrictive \"less\" for ALL to \"r_bob\", \"r_grp\" on the primary, nothing here!"}, reads: map[string]string{"r_bob": "2"},
	},
	{
		name:    "a policy for a group that has other members here",
		primary: `GRANT SELECT ON s.t TO r_ann, r_bob; ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON s.t TO r_grp USING (id = 2)`,
		replica: "GRANT r_grp TO r_ann; GRANT SELECT ON s.t TO r_ann, r_bob",
		want:    []string{"row security: on on the primary, off here!", "policy: \"p\" for ALL to \"r_bob\" on the primary, nothing here!"}, reads: map[string]string{"r_ann": "none", "r_bob": "2"},
	},
	{
		name: "policies that need what is not here",
		primary: `GRANT SELECT ON s.t TO r_ann, r_bob; CREATE TABLE s.unfed (id int); ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY ok ON s.t USING (id = 1); CREATE POLICY more ON s.t USING (id IN (SELECT id FROM s.unfed));
			CREATE POLICY less ON s.t AS RESTRICTIVE FOR SELECT TO r_ann USING (id IN (SELECT id FROM s.unfed))`,
		replica: "GRANT SELECT ON s.t TO r_ann, r_bob",
		want: []string{
			"row security: on on the primary, off here!", "policy: restrictive \"less\" for SELECT to \"r_ann\" on the primary, nothing here!",
			"policy: \"ok\" for ALL to PUBLIC on the primary, nothing here!",
		},
		reads: map[string]string{"r_ann": "none", "r_bob": "1"},
	},
	{
		name: "a policy with a function that is not here",
		primary: `GRANT SELECT ON s.t TO r_ann; CREATE FUNCTION s.mine(text) RETURNS bool LANGUAGE sql AS 'SELECT $1 = CURRENT_USER'; ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;
			CREATE POLICY p ON s.t USING (s.mine(own))`,
		replica: "GRANT SELECT ON s.t TO r_ann",
		want:    []string{"row security: on on the primary, off here!", "policy: \"p\" for ALL to PUBLIC on the primary, nothing here!"}, reads: map[string]string{"r_ann": "1"},
	},
}

// What a role reads by a login to the replica itself is no more than what the primary shows it.
func TestRightsFollowThePrimary(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) {
		r.Tables, r.Users = configs.Patterns{"s.t"}, map[string]string{"r_there": "r_here"}
	})
	clean := `DO $$ BEGIN IF to_regrole('r_tmp') IS NOT NULL THEN DROP OWNED BY r_tmp; DROP ROLE r_tmp; END IF; END $$; ` + accessRoles
	t.Cleanup(func() {
		exec(t, b.primary, clean)
		exec(t, b.replica, clean)
	})
	for _, c := range accessCases {
		t.Run(c.name, func(t *testing.T) {
			exec(t, b.primary, clean+accessOnPrimary+c.primary)
			exec(t, b.replica, clean+accessOnReplica+c.replica)
			if diff := cmp.Diff(c.want, b.access(t)); diff != "" {
				t.Fatal(diff)
			}
			b.align(t)
			if left := b.access(t); left != nil {
				t.Errorf("left: %q", left)
			}
			for who, want := range c.reads {
				role, column, _ := strings.Cut(who, " ")
				if got := b.reads(t, role, column); got != want {
					t.Errorf("%s reads %q, want %q", who, got, want)
				}
			}
		})
	}
}

// A role that does not own a schema cannot let others use it; PostgreSQL only warns.
func TestASchemaThatOnlyItsOwnerOpens(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"s.t"} })
	var notes []string
	b.Sink = func(e feed.Event) {
		if e.Status == feed.StatusNote {
			notes = append(notes, e.Step)
		}
	}
	exec(t, b.primary, accessOnPrimary+"GRANT SELECT ON s.t TO r_ann")
	exec(t, b.replica, accessOnReplica+"REVOKE USAGE ON SCHEMA s FROM PUBLIC; GRANT USAGE ON SCHEMA s TO r_own; ALTER TABLE s.t OWNER TO r_own; GRANT SELECT ON s.t TO r_ann")
	t.Cleanup(func() {
		exec(t, b.replica, "RESET ROLE; "+accessRoles)
		exec(t, b.primary, accessRoles)
	})
	exec(t, b.replica, "SET ROLE r_own")
	const sql = `GRANT USAGE ON SCHEMA "s" TO PUBLIC`
	want := []string{"privileges of PUBLIC: USAGE of the schema on the primary, nothing here (postgres, who owns the schema, has to do it: " + sql + ")"}
	if diff := cmp.Diff(want, b.access(t)); diff != "" {
		t.Error(diff)
	}
	b.align(t)
	if len(notes) != 1 || !strings.HasSuffix(notes[0], want[0]) {
		t.Errorf("told were %q", notes)
	}
	exec(t, b.replica, "RESET ROLE; "+sql+"; SET ROLE r_own")
	if left := b.access(t); left != nil {
		t.Errorf("left: %q", left)
	}
}

func (b *bed) access(t *testing.T) (lines []string) {
	t.Helper()
	all, err := Access(context.Background(), b.Run, b.primary, b.replica, b.tables(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		line := strings.TrimSuffix(d.String(), " (the replica gives more than the primary)")
		if d.Matters {
			line += "!"
		}
		lines = append(lines, line)
	}
	return lines
}

func (b *bed) align(t *testing.T) {
	t.Helper()
	exec(t, b.primary, "SET search_path = pg_catalog")
	exec(t, b.replica, "SET search_path = pg_catalog")
	theirs, err := ReadRights(context.Background(), b.primary, b.tables(t))
	if err == nil {
		err = Align(context.Background(), b.Run, theirs, b.primary, b.replica, b.tables(t))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// reads is what a role sees of the replica by a login of its own.
func (b *bed) reads(t *testing.T, role, column string) (ids string) {
	t.Helper()
	login := b.Target.Login()
	login.User, login.Password = role, ""
	config, err := pgx.ParseConfig("")
	if err != nil {
		t.Fatal(err)
	}
	config.Config = *login
	config.RuntimeParams = nil
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if column == "" {
		column = "id"
	}
	err = conn.QueryRow(context.Background(), "SELECT coalesce(string_agg("+feed.Quote("", column)+"::text, ',' ORDER BY id), 'none') FROM s.t").Scan(&ids)
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "42501" {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// What stands in the way of a policy does not keep the table open, nor the next one.
func TestAPolicyThatCannotBeMadeLeavesNothingOpen(t *testing.T) {
	for _, c := range []struct {
		name, primary, replica, policy string
		broken                         bool // nothing that policies need can be brought
	}{
		{
			name: "a value that the replica's type lacks", policy: "own::s.mood = 'r_ann'",
			primary: "CREATE TYPE s.mood AS ENUM ('r_ann', 'r_bob'); ", replica: "CREATE TYPE s.mood AS ENUM ('r_bob'); ",
		},
		{
			name: "what it needs cannot be brought", policy: "f.mine(own)", broken: true,
			primary: "CREATE SCHEMA IF NOT EXISTS f; CREATE OR REPLACE FUNCTION f.mine(text) RETURNS bool LANGUAGE sql AS 'SELECT true'; ",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"s.*"} })
			t.Cleanup(func() {
				exec(t, b.primary, accessRoles)
				exec(t, b.replica, accessRoles)
			})
			const more = "; CREATE TABLE s.u (id int); GRANT SELECT ON s.t, s.u TO r_ann"
			exec(t, b.primary, accessOnPrimary+c.primary+"ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON s.t USING ("+c.policy+")"+more+"; REVOKE ALL ON s.u FROM r_ann")
			exec(t, b.replica, accessOnReplica+c.replica+"GRANT SELECT ON s.t TO r_bob"+more)
			if c.broken {
				t.Setenv("TMPDIR", "/nowhere")
			}
			b.align(t)
			if got := b.reads(t, "r_ann", "") + " " + b.reads(t, "r_bob", ""); got != "none " {
				t.Errorf("r_ann and r_bob read %q", got)
			}
			var open bool
			if err := b.replica.QueryRow(context.Background(), "SELECT has_table_privilege('r_ann', 's.u', 'SELECT')").Scan(&open); err != nil || open {
				t.Errorf("the next table is open: %t, %v", open, err)
			}
		})
	}
}

// meddler does something by another connection before the first query with a text in it.
type meddler struct {
	text string
	do   func()
}

func (m *meddler) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	if m.do != nil && strings.Contains(q.SQL, m.text) {
		m.do()
		m.do = nil
	}
	return ctx
}

func (*meddler) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// What is given in one transaction with the policy that bounds it is not given alone.
func TestRightsAreOfOneMoment(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"s.t"} })
	t.Cleanup(func() {
		exec(t, b.primary, accessRoles)
		exec(t, b.replica, accessRoles)
	})
	exec(t, b.primary, accessOnPrimary)
	exec(t, b.replica, accessOnReplica)
	m := &meddler{text: "aclexplode(r.relacl)", do: func() {
		exec(t, b.primary, "ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON s.t USING (own = CURRENT_USER); GRANT SELECT ON s.t TO r_ann")
	}}
	config := b.primary.Config().Copy()
	config.Tracer = m
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	theirs, err := ReadRights(context.Background(), conn, b.tables(t))
	if err != nil || m.do != nil {
		t.Fatalf("meddled with: %t, %v", m.do == nil, err)
	}
	if at := theirs.Tables["s.t"]; !at.Secured && len(at.Grants) > 0 {
		t.Errorf("no row-level security, and %+v", at.Grants)
	}
}
