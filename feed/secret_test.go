package feed

import (
	"context"
	"slices"
	"strings"
	"testing"

	"pgshunt/configs"
	"pgshunt/internal/pgtest"
)

// secretly makes a role with a password as somebody would who must not be overheard.
func secretly(t *testing.T, s *pgtest.Server, user, role string) (heard []string, err error) {
	t.Helper()
	ctx := context.Background()
	conn := s.Conn(t, user, "postgres")
	server := &Server{Name: "ml1"}
	if heard, err = server.Hush(ctx, conn); err != nil {
		t.Fatal(err)
	}
	run := &Run{Replica: &configs.Replica{Name: "ml1"}, Options: Options{Sink: func(e Event) {
		if strings.Contains(e.SQL, "hunter2") {
			t.Errorf("an event has the secret: %q", e.SQL)
		}
	}}}
	tx, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	// SYSID means nothing, which a notice says.
	err = run.DoSecretly(ctx, conn, Step{
		On: server, What: "make a role", SQL: "CREATE ROLE " + role + " SYSID 7 PASSWORD 'hunter2'", Secrets: []string{"hunter2"},
	})
	if err != nil {
		return heard, err
	}
	// The log has what follows, as the server is set.
	if err := server.Speak(ctx, conn); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE after_"+role+" ()"); err != nil {
		t.Fatal(err)
	}
	if !s.Saw(t, 0, "CREATE TABLE after_"+role) {
		t.Error("nothing that follows is logged")
	}
	var seen bool
	if err := conn.QueryRow(ctx, "SELECT current_setting('pgshunt.secret') <> ''").Scan(&seen); err != nil || seen {
		t.Errorf("the secret is still a setting: %v", err)
	}
	return heard, tx.Commit(ctx)
}

func TestASecretIsNotInTheLog(t *testing.T) {
	for _, c := range []struct {
		name, user string
		settings   map[string]string
		heard      []string
	}{
		{"a superuser, everything is logged", "postgres", map[string]string{
			"log_min_duration_statement": "0", "log_statement": "all", "shared_preload_libraries": "pg_stat_statements,auto_explain",
			"pg_stat_statements.track": "all", "auto_explain.log_min_duration": "0", "auto_explain.log_nested_statements": "on",
		}, nil},
		{"a superuser, a warning", "postgres", map[string]string{"log_min_messages": "notice"}, nil},
		{"an owner, definitions are logged", "plain", map[string]string{"log_statement": "ddl", "log_min_duration_statement": "5min"}, nil},
		{"an owner, everything is logged", "plain", map[string]string{"log_statement": "all"}, []string{"log_statement = all"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := pgtest.Primary(t, pgtest.Options{Settings: c.settings})
			s.Exec(t, "CREATE ROLE plain LOGIN CREATEROLE; GRANT CREATE ON SCHEMA public TO plain")
			heard, err := secretly(t, s, c.user, "new")
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(heard, c.heard) {
				t.Errorf("heard by %q", heard)
			}
			s.Exec(t, "ALTER ROLE new LOGIN") // it was made
			if _, err := secretly(t, s, c.user, "new"); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "already exists") {
				t.Errorf("an error: %v", err)
			}
			if c.settings["pg_stat_statements.track"] != "" {
				s.Exec(t, "CREATE EXTENSION pg_stat_statements")
				var all string
				if err := s.Super(t, "postgres").QueryRow(t.Context(), "SELECT string_agg(query, ' ') FROM pg_stat_statements").Scan(&all); err != nil || strings.Contains(all, "hunter2") {
					t.Errorf("statistics have it: %v, %s", err, all)
				}
			}
			var found []string
			for _, l := range s.LogLines(t, 0) {
				if strings.Contains(l.Text, "hunter2") {
					found = append(found, l.Level+": "+l.Text)
				}
			}
			if (found != nil) != (heard != nil) {
				t.Errorf("the log has %q", found)
			}
		})
	}
}
