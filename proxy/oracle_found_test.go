package proxy_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgshunt/pool"
)

// TestLikePostgreSQLBefore plays scripts that once made a difference and that have
// no place among transcripts, since they need startup parameters or a client that
// closes its side of the connection.
func TestLikePostgreSQLBefore(t *testing.T) {
	o := newOracle(t)
	f := start(t, setup{pool: pool.Config{Size: 2, Wait: time.Minute}})
	tokyo := []string{"TimeZone", "Asia/Tokyo", "DateStyle", "SQL, DMY"}
	for name, s := range map[string]*script{
		"RESET": {startup: tokyo, groups: groups(
			[]string{`Query "RESET ALL"`}, []string{`Query "SET TimeZone = 'Europe/Paris'"`}, []string{`Query "RESET TimeZone"`}, []string{`Query "SHOW TimeZone"`},
			[]string{`Query "SET TimeZone = 'UTC'"`}, []string{`Query "DISCARD ALL"`}, []string{`Query "SHOW TimeZone"`},
		)},
		"RESET and what follows at once": {startup: tokyo, groups: groups(
			[]string{`Query "SET TimeZone = 'UTC'"`, `Query "RESET TimeZone"`, `Query "SHOW TimeZone"`, `Query "BEGIN"`, `Query "SAVEPOINT a"`, `Query "RESET ALL"`, `Query "SHOW DateStyle"`},
			[]string{`Query "ROLLBACK"`, `Parse "" "DISCARD ALL"`, `Bind "" ""`, `Execute "" 0`, `Sync`, `Parse "" "SHOW TimeZone"`, `Bind "" ""`, `Execute "" 0`, `Sync`},
		)},
		"RESET rolled back": {startup: tokyo, groups: groups(
			[]string{`Query "SET TimeZone = 'Europe/Paris'"`}, []string{`Query "BEGIN"`}, []string{`Query "SAVEPOINT a"`}, []string{`Query "RESET TimeZone"`}, []string{`Query "SHOW TimeZone"`},
			[]string{`Query "ROLLBACK TO a"`}, []string{`Query "SHOW TimeZone"`}, []string{`Query "RESET ALL"`}, []string{`Query "ROLLBACK"`}, []string{`Query "SHOW TimeZone"`},
		)},
		"a statement that executes itself, described in a failed transaction": {groups: groups(
			[]string{`Query "BEGIN"`}, []string{`Parse "b" "EXECUTE b"`, `Bind "q" "b" []`, `Parse "b" "SELECT 1"`, `Sync`},
			[]string{`Describe S "b"`, `Sync`}, []string{`Bind "p" "b" ["1" "0"]`, `Sync`},
		)},
		"what is no message, after one among copy data": {groups: groups(
			[]string{`Parse "b" "COPY t0 FROM STDIN"`, `Bind "q" "b" []`, `Execute "q" 0`, `Sync`, `Query "COMMIT"`, `raw 7a 00000004`},
		)},
		"what may end a pin, in a batch that fails": {groups: groups(
			[]string{`Query "SELECT pg_try_advisory_lock(1000)"`}, []string{`Parse "b" "SELECT 1"`, `Sync`},
			[]string{`Bind "q" "b" ["0"]`, `Query "UNLISTEN *"`, `Parse "" "SHOW ALL_THAT"`, `Bind "" ""`, `Execute "" 0`, `Sync`},
		)},
		"goodbye in a batch that fails": {groups: []scriptGroup{{send: []string{
			`Query "SELECT 0"`, `Parse "b" "SELECT 1"`, `Bind "" "b"`, `Execute "" 0`, `Close P "p"`, `Close S "a"`, `Parse "" "SELECT 1/0"`, `Bind "" ""`, `Execute "" 0`, `Parse "" "SELECT 2"`,
		}}}},
		"goodbye in a batch that gives notice": {groups: []scriptGroup{{send: []string{
			`Parse "" "SELECT complain('hear')"`, `Bind "" ""`, `Execute "" 0`, `Parse "" "SELECT 1"`,
		}}}},
		"goodbye in a batch that sets a parameter": {groups: []scriptGroup{{send: []string{
			`Parse "" "SET DateStyle = 'German'"`, `Bind "" ""`, `Execute "" 0`, `Parse "b" "SELECT 1"`, `Bind "" "b"`, `Bind "" "c"`,
		}}}},
		"goodbye in a batch that is well": {groups: []scriptGroup{{send: []string{`Parse "b" "SELECT 1"`, `Bind "" "b"`, `Flush`, `Execute "" 0`, `Close S "a"`}}}},
		"goodbye after copy data whose Sync came too early": {groups: []scriptGroup{{send: []string{
			`Parse "" "COPY t0 (id) FROM STDIN"`, `Bind "" ""`, `Execute "" 0`, `Sync`, `CopyData "77\n"`, `CopyDone`,
		}}}},
		"goodbye after copy data that are wrong": {groups: []scriptGroup{{send: []string{
			`Parse "" "COPY t0 (id) FROM STDIN"`, `Bind "" ""`, `Execute "" 0`, `CopyData "1\n"`, `CopyDone`, `Parse "" "SELECT 1"`,
		}}}},
		"goodbye after a message that stands among copy data": {groups: []scriptGroup{{send: []string{
			`Parse "" "COPY t0 FROM STDIN"`, `Bind "" ""`, `Execute "" 0`, `Sync`, `Query "SELECT 1"`,
		}}}},
		"half closed after a message that stands among copy data": {halfway: true, groups: []scriptGroup{{send: []string{
			`Parse "" "COPY t0 FROM STDIN"`, `Bind "" ""`, `Execute "" 0`, `Sync`, `Query "SELECT 1"`,
		}}}},
		"half closed": {halfway: true, groups: []scriptGroup{{send: []string{
			`Query "SELECT pg_sleep(0.1)"`, `Parse "" "SELECT 1"`, `Bind "" ""`, `Execute "" 0`, `Sync`, `Query "SELECT 2"`,
		}}}},
		"half closed after a Flush": {halfway: true, groups: []scriptGroup{{send: []string{
			`Parse "" "SELECT 1"`, `Bind "" ""`, `Flush`, `Execute "" 0`, `Close P ""`,
		}}}},
		"half closed after an error":        {halfway: true, groups: []scriptGroup{{send: []string{`Describe S ""`, `Parse "" "SELECT 1"`}}}},
		"half closed after copy data":       {halfway: true, groups: []scriptGroup{{send: []string{`Query "COPY t0 (id) FROM STDIN"`, `CopyData "77\n"`, `CopyDone`}}}},
		"goodbye where copy data should be": {groups: groups([]string{`Query "COPY t0 (id) FROM STDIN"`})},
		"goodbye where copy data should be, in a batch": {groups: groups(
			[]string{`Parse "b" "COPY t0 FROM STDIN"`, `Sync`}, []string{`Parse "" "EXECUTE b"`, `Bind "" ""`, `Execute "" 0`, `Sync`},
		)},
		"half closed where copy data should be": {halfway: true, groups: groups([]string{`Query "COPY t0 (id) FROM STDIN"`, `CopyData "77\n"`})},
		"half closed where copy data should be, in a batch": {halfway: true, groups: groups(
			[]string{`Parse "" "COPY t0 FROM STDIN"`, `Bind "" ""`, `Execute "" 0`, `Sync`},
		)},
		"half closed in one piece with a COPY": {halfway: true, groups: []scriptGroup{{send: []string{`Query "SELECT 1"`, `Query "COPY t0 (id) FROM STDIN"`}}}},
		"goodbye in one piece with a COPY":     {groups: []scriptGroup{{send: []string{`Query "SELECT 1"`, `Query "COPY t0 (id) FROM STDIN"`}}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, conn := range o.admins {
				o.exec(t, conn, tables(0))
			}
			want, counts := playScript(s, o.server, o.direct, nil)
			got, _ := playScript(s, f.addr, o.proxied, counts)
			if !slices.Equal(want, got) {
				t.Errorf("(-PostgreSQL +pgshunt):\n%s", cmp.Diff(readable(want), readable(got)))
			}
		})
	}
}

// groups are sent one after the other.
func groups(sent ...[]string) (all []scriptGroup) {
	for _, g := range sent {
		all = append(all, scriptGroup{send: g, wait: true})
	}
	return all
}
