package schema

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
)

// Who reads a fed table on the primary by a membership that the replica does not have is told of
// with the statement that mends it, and so is a membership that would show more.
func TestMembershipsAreToldWithTheStatementThatMendsThem(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) {
		r.Tables, r.Users = configs.Patterns{"s.t"}, map[string]string{"r_there": "r_here"}
	})
	t.Cleanup(func() {
		exec(t, b.primary, accessRoles)
		exec(t, b.replica, accessRoles)
	})
	const secured = "ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; "
	for _, c := range []struct {
		name, primary, replica string
		want                   []string
	}{
		{name: "a member", primary: "GRANT SELECT ON s.t TO r_grp", want: []string{`GRANT "r_grp" TO "r_bob"`}},
		{name: "a member of some columns", primary: "GRANT SELECT (id) ON s.t TO r_grp", want: []string{`GRANT "r_grp" TO "r_bob"`}},
		{name: "a member here too", primary: "GRANT SELECT ON s.t TO r_grp", replica: `GRANT r_grp TO r_bob; GRANT SELECT ON s.t TO r_grp`},
		{name: "a member who has it by itself there", primary: "GRANT SELECT ON s.t TO r_grp, r_bob"},
		{name: "a member who has it by itself here", primary: "GRANT SELECT ON s.t TO r_grp", replica: "GRANT SELECT ON s.t TO r_bob"},
		{name: "a member by another", primary: "CREATE ROLE r_tmp; GRANT r_grp TO r_tmp; GRANT r_tmp TO r_there; GRANT SELECT ON s.t TO r_grp", replica: "GRANT r_grp TO r_bob; GRANT SELECT ON s.t TO r_grp", want: []string{`GRANT "r_grp" TO "r_here"`}},
		{name: "a group that is not here", primary: "GRANT r_far TO r_ann; GRANT SELECT ON s.t TO r_far", want: []string{`CREATE ROLE "r_far"; GRANT "r_far" TO "r_ann"`}},
		{name: "the owner's", primary: "ALTER TABLE s.t OWNER TO r_grp", want: []string{`GRANT "r_grp" TO "r_bob"`}},
		{name: "a privilege that reads nothing", primary: "GRANT INSERT ON s.t TO r_grp"},
		{name: "a group that nobody acts as", primary: "GRANT SELECT ON s.t TO r_grp", replica: "CREATE ROLE r_far; GRANT r_grp TO r_bob; GRANT SELECT ON s.t TO r_grp"},
		{name: "a group and its member", primary: "GRANT r_far TO r_ann; GRANT SELECT ON s.t TO r_grp", replica: "CREATE ROLE r_far; GRANT r_far TO r_ann; GRANT r_grp TO r_bob; GRANT SELECT ON s.t TO r_grp", want: []string{`GRANT "r_grp" TO "r_far"`}},
		{name: "past policies here", primary: secured + "GRANT SELECT ON s.t TO r_ann", replica: "ALTER ROLE r_ann BYPASSRLS; GRANT SELECT ON s.t TO r_ann", want: []string{`ALTER ROLE "r_ann" NOBYPASSRLS`}},
		{name: "past policies there", primary: secured + "ALTER ROLE r_ann BYPASSRLS; GRANT SELECT (id) ON s.t TO r_ann", replica: "GRANT SELECT (id) ON s.t TO r_ann", want: []string{`ALTER ROLE "r_ann" BYPASSRLS`}},
		{name: "past policies that there are not", primary: "GRANT SELECT ON s.t TO r_ann", replica: "ALTER ROLE r_ann BYPASSRLS; GRANT SELECT ON s.t TO r_ann"},
		{name: "past policies of what is not read", primary: secured + "GRANT SELECT ON s.t TO r_bob", replica: "ALTER ROLE r_ann BYPASSRLS; GRANT SELECT ON s.t TO r_bob"},
		{name: "past policies by a role of the replica's own", primary: secured, replica: "ALTER ROLE r_own BYPASSRLS; GRANT SELECT ON s.t TO r_own"},
		{name: "a member here only", primary: "GRANT SELECT ON s.t TO r_grp", replica: "GRANT r_grp TO r_ann, r_bob", want: []string{`REVOKE "r_grp" FROM "r_ann"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			exec(t, b.primary, `DO $$ BEGIN IF to_regrole('r_tmp') IS NOT NULL THEN DROP OWNED BY r_tmp; DROP ROLE r_tmp; END IF; END $$; `+accessOnPrimary+c.primary)
			exec(t, b.replica, accessOnReplica+c.replica)
			var got []string
			all, err := Memberships(context.Background(), b.Run)
			for _, p := range all {
				got = append(got, p.Remedy)
			}
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
		})
	}
}

// From PostgreSQL 14 a role may read everything without a privilege on anything, and from 16
// a membership may be one that nobody can use.
func TestMembershipsByVersion(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"s.t"} })
	t.Cleanup(func() {
		exec(t, b.primary, accessRoles)
		exec(t, b.replica, accessRoles)
	})
	remedies := func(primary, replica string) (got []string) {
		t.Helper()
		exec(t, b.primary, accessOnPrimary+primary)
		exec(t, b.replica, accessOnReplica+replica)
		all, err := Memberships(context.Background(), b.Run)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			got = append(got, p.Remedy)
		}
		return got
	}
	if version(t, b.primary) >= 140000 {
		if diff := cmp.Diff([]string{`GRANT SELECT ON "s"."t" TO "r_ann"`}, remedies("GRANT pg_read_all_data TO r_ann", "")); diff != "" {
			t.Error(diff)
		}
		// What was so granted stays: the primary gives it too.
		exec(t, b.replica, `GRANT SELECT ON "s"."t" TO "r_ann"`)
		if b.align(t); b.reads(t, "r_ann", "") != "1,2" {
			t.Error("what mends it is taken away again")
		}
	}
	if version(t, b.replica) >= 140000 {
		if diff := cmp.Diff([]string{`REVOKE "pg_read_all_data" FROM "r_ann"`}, remedies("", "GRANT pg_read_all_data TO r_ann")); diff != "" {
			t.Error(diff)
		}
	}
	const group = "GRANT SELECT ON s.t TO r_grp; REVOKE r_grp FROM r_bob, r_far; "
	if version(t, b.primary) >= 160000 {
		if got := remedies(group+"GRANT r_grp TO r_bob WITH INHERIT FALSE, SET FALSE, ADMIN TRUE", ""); got != nil {
			t.Errorf("who may only give a membership on reads nothing: %q", got)
		}
		if diff := cmp.Diff([]string{`GRANT "r_grp" TO "r_bob"`}, remedies(group+"GRANT r_grp TO r_bob WITH INHERIT FALSE, SET TRUE", "")); diff != "" {
			t.Error(diff)
		}
	}
	if version(t, b.replica) >= 160000 {
		if got := remedies(group, "GRANT r_grp TO r_ann WITH INHERIT FALSE, SET FALSE"); got != nil {
			t.Errorf("a membership of no use shows more: %q", got)
		}
	}
}

// Versions write the same expression in several ways.
func TestAPolicyInOtherWordsIsTheSame(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"s.t"} })
	t.Cleanup(func() {
		exec(t, b.primary, accessRoles)
		exec(t, b.replica, accessRoles)
	})
	const policy = `ALTER TABLE s.t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON s.t
		USING (id > extract(year FROM date '0001-01-01' + id) - 1 AND position('r' IN own) > 0 AND substring(own FROM 1 FOR 1) = 'r' AND id IN (SELECT id FROM s.t u WHERE u.id < 9))`
	exec(t, b.primary, accessOnPrimary+policy)
	exec(t, b.replica, accessOnReplica)
	b.align(t)
	if left := b.access(t); left != nil {
		t.Errorf("the same policy: %q", left)
	}
	exec(t, b.replica, "DROP POLICY p ON s.t; CREATE POLICY p ON s.t USING (id > 7)")
	if left := b.access(t); len(left) != 1 {
		t.Errorf("another policy: %q", left)
	}
	b.align(t)
	if left := b.access(t); left != nil {
		t.Errorf("left: %q", left)
	}
}

// From PostgreSQL 17 ALL is more than earlier servers know, and is brought as far as it goes.
func TestAllPrivilegesReachAnOlderReplica(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"s.t"} })
	t.Cleanup(func() {
		exec(t, b.primary, accessRoles)
		exec(t, b.replica, accessRoles)
	})
	exec(t, b.primary, accessOnPrimary+"GRANT ALL ON s.t TO r_ann WITH GRANT OPTION")
	exec(t, b.replica, accessOnReplica+"DROP TABLE s.t")
	b.bring(t, Indexes)
	b.align(t)
	if left := b.access(t); left != nil {
		t.Errorf("left: %q", left)
	}
	var all bool
	if err := b.replica.QueryRow(context.Background(), "SELECT has_table_privilege('r_ann', 's.t', 'TRUNCATE WITH GRANT OPTION')").Scan(&all); err != nil || !all {
		t.Errorf("r_ann has %t, %v", all, err)
	}
}

func version(t *testing.T, conn *pgx.Conn) (number int) {
	t.Helper()
	if err := conn.QueryRow(context.Background(), "SELECT current_setting('server_version_num')::int").Scan(&number); err != nil {
		t.Fatal(err)
	}
	return number
}
