package proxy

import (
	"strings"
	"testing"

	"pgshunt/parser"
	"pgshunt/pool"
)

// TestSettingsFollowTransactions runs scripts of SQL, each statement with the tag
// that the server would answer, and compares the settings in force afterwards.
func TestSettingsFollowTransactions(t *testing.T) {
	tests := []struct{ name, script, want string }{
		{"autocommit", "SET a.x = '1'", "a.x=1"},
		{"committed", "BEGIN; SET a.x = '1'; COMMIT", "a.x=1"},
		{"rolled back", "SET a.x = '1'; BEGIN; SET a.x = '2'; ROLLBACK", "a.x=1"},
		{"commit of a failed transaction", "SET a.x = '1'; BEGIN; SET a.x = '2'; COMMIT!ROLLBACK", "a.x=1"},
		{"local ends with the transaction", "SET a.x = '1'; BEGIN; SET LOCAL a.x = '2'; COMMIT", "a.x=1"},
		{"local is in force within it", "SET a.x = '1'; BEGIN; SET LOCAL a.x = '2'", "a.x=2"},
		{"back to the savepoint", "BEGIN; SET a.x = '1'; SAVEPOINT s; SET a.x = '2'; ROLLBACK TO s; COMMIT", "a.x=1"},
		{"released savepoint", "BEGIN; SAVEPOINT s; SET a.x = '2'; RELEASE s; COMMIT", "a.x=2"},
		{"outer savepoint of the same name", "BEGIN; SET a.x = '1'; SAVEPOINT s; SET a.x = '2'; SAVEPOINT s; SET a.x = '3'; ROLLBACK TO s; RELEASE s; ROLLBACK TO s; COMMIT", "a.x=1"},
		{"reset", "SET a.x = '1'; RESET a.x", "a.x="},
		{"reset of one without a class", "SET work_mem = '1MB'; RESET work_mem", ""},
		{"set to default", "SET a.x = '1'; SET a.x TO DEFAULT", "a.x="},
		{"reset to the startup value", "SET start.up = 'x'; RESET start.up", "start.up=given"},
		{"reset all keeps the role", "SET a.x = '1'; SET ROLE bob; RESET ALL", "a.x= role=bob start.up=given"},
		{"discard all", "SET a.x = '1'; SET ROLE bob; DISCARD ALL", "a.x= start.up=given"},
		{"a new identity ends the role", "SET ROLE bob; SET SESSION AUTHORIZATION eve", "session_authorization=eve"},
		{"set_config", "SELECT set_config('a.x', '1', false)", "a.x=1"},
		{"set_config for the transaction", "SELECT set_config('a.x', '1', true)", "a.x="},
		{"known although rolled back", "BEGIN; SET a.x = '1'; ROLLBACK", "a.x="},
		{"local since the savepoint", "BEGIN; SET LOCAL a.x = '1'; SAVEPOINT s; SET LOCAL a.x = '2'; ROLLBACK TO s", "a.x=1"},
		{"begun twice", "SET a.x = '1'; BEGIN; SET a.x = '2'; BEGIN; ROLLBACK", "a.x=1"},
		{"modes end with the transaction", "BEGIN; SET TRANSACTION READ ONLY", ""},
		{"prepared transaction", "BEGIN; SET a.x = '1'; PREPARE TRANSACTION 'p'", "a.x=1"},
		{"chained", "BEGIN; SET a.x = '1'; COMMIT AND CHAIN; SET a.x = '2'; ROLLBACK", "a.x=1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var st scripted
			var startup *pool.Settings
			if strings.Contains(test.want, "start.up") {
				startup = startup.With(pool.Setting{Name: "start.up", SQL: "SET start.up = 'given'", Value: "given"})
			}
			st.start(startup, "")
			for _, sql := range strings.Split(test.script, ";") {
				sql, tag, _ := strings.Cut(strings.TrimSpace(sql), "!")
				if tag == "" {
					tag = tagFor(sql)
				}
				st.follow(sql, tag)
			}
			if got := printed(st.local); got != test.want {
				t.Errorf("settings %q, expected %q", got, test.want)
			}
		})
	}
}

// scripted is a state with the one thing about the server that it depends on.
type scripted struct {
	state
	block bool // a transaction block is open
}

// follow does what the relay does with one statement that succeeds.
func (s *scripted) follow(sql, tag string) {
	facts := parser.Parse(sql)
	p := &facts.Parts[0]
	s.sending(facts)
	s.completed(p, tag)
	switch p.Kind {
	case parser.Begin:
		s.block = true
	case parser.Commit, parser.Rollback, parser.PrepareTransaction:
		s.block = p.Chain
	}
	status := byte('I')
	if s.block {
		status = 'T'
	}
	s.ready(status, false)
}

func tagFor(sql string) string {
	switch {
	case strings.HasPrefix(sql, "COMMIT"):
		return "COMMIT"
	case strings.HasPrefix(sql, "ROLLBACK"):
		return "ROLLBACK"
	case strings.HasPrefix(sql, "PREPARE TRANSACTION"):
		return "PREPARE TRANSACTION"
	case strings.HasPrefix(sql, "DISCARD ALL"):
		return "DISCARD ALL"
	}
	return "SET"
}

func printed(s *pool.Settings) string {
	var out []string
	for _, set := range s.All() {
		out = append(out, set.Name+"="+set.Value)
	}
	return strings.Join(out, " ")
}

func TestSplitPath(t *testing.T) {
	tests := []struct{ path, want string }{
		{`"$user", public`, "eve|public"},
		{`a, "B c", pgml`, "a|B c|pgml"},
		{`"q""q"`, `q"q`},
		{"", ""},
		{" , PUBLIC", "public"},
	}
	for _, test := range tests {
		if got := strings.Join(splitPath(test.path, "eve"), "|"); got != test.want {
			t.Errorf("%s: %q, expected %q", test.path, got, test.want)
		}
	}
}
