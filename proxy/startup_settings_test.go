package proxy_test

import (
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
)

// Of what a client says twice, and of what is set for its role, the same counts as in
// PostgreSQL, whatever the order in which the packet has it.
func TestStartupSettingsGiveWayAsInPostgreSQL(t *testing.T) {
	primary := pgtest.SharedPrimary(t)
	primary.Exec(t, `CREATE ROLE given LOGIN; CREATE ROLE given_a; CREATE ROLE given_b; CREATE ROLE given_not; GRANT given_a, given_b TO given; CREATE ROLE given_super LOGIN SUPERUSER;
		ALTER ROLE given SET work_mem = '1MB'; ALTER ROLE given SET role = given_b; ALTER ROLE given_a SET work_mem = '9MB'; ALTER ROLE given_super SET role = given_a`)
	t.Cleanup(func() { primary.Exec(t, "DROP ROLE given, given_a, given_b, given_not, given_super") })
	const ask = "SELECT current_user, session_user, current_setting('role'), current_setting('work_mem'), current_setting('search_path')"
	modes(t, func(t *testing.T, session bool) {
		f := start(t, setup{proxy: proxy.Config{SessionMode: session}, pool: pool.Config{Size: 1}})
		for _, packet := range []string{
			"given",
			"given role none",
			"given role none options -crole=given_a",
			"given options -crole=given_a role none",
			"given options -crole=given_a",
			"given options -crole=given_a#-crole=none",
			"given work_mem 3MB options -cwork_mem=2MB role given_a",
			"given options -cwork_mem=2MB WORK_MEM 3MB",
			"given options -cwork_mem=2MB options -csearch_path=x",
			"given work_mem 3MB work_mem 5MB",
			"given search_path y options -csearch_path=x#--search-path=z",
			"given role given_not",
			"given role nobody",
			"given_super",
			"given_super session_authorization given options -crole=none",
			"given_super options -csession_authorization=given#-crole=given_a",
		} {
			var got []string
			for _, addr := range []string{address(primary), f.addr} {
				words := strings.Fields("user " + packet + " database postgres")
				for i := range words {
					words[i] = strings.ReplaceAll(words[i], "#", " ")
				}
				c := dial(t, addr)
				c.startup(words...)
				lines := strings.ReplaceAll(joined(c.answer()), "AuthenticationOk; FATAL", "FATAL") // PostgreSQL looks at them after it
				if !strings.Contains(lines, "FATAL") {
					lines += joined(c.query(ask))
					c.query("SET ROLE NONE; SET work_mem = '8MB'; SET search_path = w")
					c.query("RESET ALL; RESET ROLE")
					lines += joined(c.query(ask))
				}
				got = append(got, lines)
				_ = c.Close()
			}
			if got[0] != got[1] {
				t.Errorf("%s\nPostgreSQL %s\npgshunt    %s", packet, got[0], got[1])
			}
		}
	})
}
