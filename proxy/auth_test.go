package proxy_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

const secret = "correct horse \u00e9 battery"

// locked starts a proxy that knows one user by password. The server behind trusts.
func locked(t *testing.T) *fixture {
	t.Helper()
	auth, err := proxy.NewScramAuth(map[string]string{"postgres": secret})
	if err != nil {
		t.Fatal(err)
	}
	return start(t, setup{auth: &auth})
}

func connect(t *testing.T, f *fixture, user, password string) error {
	t.Helper()
	cfg, err := pgx.ParseConfig(f.url(user, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Password = password
	conn, err := pgx.ConnectConfig(context.Background(), cfg)
	if err == nil {
		_, err = conn.Exec(context.Background(), "SELECT 1")
		_ = conn.Close(context.Background())
	}
	return err
}

func TestScram(t *testing.T) {
	f := locked(t)
	if err := connect(t, f, "postgres", secret); err != nil {
		t.Errorf("the right password: %v", err)
	}
	var texts []string
	for _, who := range []struct{ user, password string }{{"postgres", "wrong"}, {"postgres", ""}, {"nobody", "wrong"}, {"nobody", secret}} {
		err := connect(t, f, who.user, who.password)
		pe := (*pgconn.PgError)(nil)
		if !errors.As(err, &pe) {
			t.Errorf("%s: %v", who.user, err)
			continue
		}
		texts = append(texts, pe.Code+strings.ReplaceAll(pe.Severity+pe.Message+pe.Detail+pe.Hint, who.user, "USER"))
	}
	for _, text := range texts {
		if text != texts[0] || !strings.HasPrefix(text, "28P01") {
			t.Errorf("a wrong password and an unknown user can be told apart: %q and %q", texts[0], text)
		}
	}
	if log := f.log.String(); strings.Contains(log, secret) || strings.Contains(log, "wrong") {
		t.Error("a password is in the log")
	}
}

// TestServersOwnRefusal: what the primary says to a login is what the client hears.
func TestServersOwnRefusal(t *testing.T) {
	f := start(t, setup{})
	primary := pgtest.SharedPrimary(t)
	for _, who := range []struct{ user, database string }{{"postgres", "no_such_database"}, {"no_such_role", "postgres"}} {
		cfg, err := pgx.ParseConfig(f.url(who.user, who.database))
		if err != nil {
			t.Fatal(err)
		}
		_, through := pgx.ConnectConfig(context.Background(), cfg)
		_, direct := pgx.Connect(context.Background(), primary.URL(who.user, who.database))
		var a, b *pgconn.PgError
		if !errors.As(through, &a) || !errors.As(direct, &b) || a.Code != b.Code || a.Message != b.Message || a.Severity != b.Severity {
			t.Errorf("%v: %v through the proxy, %v directly", who, through, direct)
		}
	}
}

// TestStartupSettings: what a client asks for when it connects is in force, comes
// back after RESET, and a mistake is the server's to report.
func TestStartupSettings(t *testing.T) {
	f := start(t, setup{})
	ctx := context.Background()
	base := f.url("postgres", "postgres")
	conn := pgtest.Connect(t, base+"&application_name=mine&options=-c%20search_path%3Da%2Cb%20-c%20statement_timeout%3D5s&TimeZone=Asia%2FTokyo")
	show := func(name, want string) {
		t.Helper()
		var got string
		if err := conn.QueryRow(ctx, "SHOW "+name, pgx.QueryExecModeSimpleProtocol).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, expected %q (%v)", name, got, want, err)
		}
	}
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	show("search_path", "a,b")
	show("TimeZone", "Asia/Tokyo")
	exec("SET TimeZone = 'UTC'")
	show("TimeZone", "UTC")
	for _, reset := range []string{"RESET TimeZone", "RESET ALL", "DISCARD ALL"} {
		exec("SET statement_timeout = '7s'")
		exec(reset)
		show("TimeZone", "Asia/Tokyo")
		show("application_name", "mine")
	}
	show("statement_timeout", "5s")
	if got := conn.PgConn().ParameterStatus("TimeZone"); got != "Asia/Tokyo" {
		t.Errorf("the client was told that TimeZone is %q", got)
	}
	_, err := pgx.Connect(ctx, base+"&TimeZone=Nowhere")
	wantState(t, err, "22023")
	_, err = pgx.Connect(ctx, base+"&options=-x")
	wantState(t, err, "42601")
	_, err = pgx.Connect(ctx, base+"&replication=database")
	wantState(t, err, "0A000")
}
