package configs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLoginMapsUsersAndFindsPasswords(t *testing.T) {
	passfile := filepath.Join(t.TempDir(), "pgpass")
	if err := os.WriteFile(passfile, []byte("ml:5432:*:third:from-passfile\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGPASSFILE", passfile)
	c := mustParse(t, `
primary: {url: "postgres://own:p%40ss@db/production?application_name=pgshunt"}
replicas:
  - {name: ml1, url: "host=ml user=own dbname=ml", password: "it's", users: {app: ml_app}, database: ml}
  - {name: ml2, url: "postgres://listed:of-url@ml2/d"}
auth:
  users:
    - {name: app, password: app-password}
    - {name: ml_app, password: "a&b c"}
    - {name: listed, password: clients}
`, nil)
	for _, l := range []struct{ target, user, database, wantUser, wantDatabase, wantPassword string }{
		{"primary", "", "", "own", "production", "p@ss"},
		{"primary", "own", "other", "own", "other", "p@ss"},
		{"primary", "app", "", "app", "production", "app-password"},
		{"primary", "no body&x=+'", "d b", "no body&x=+'", "d b", ""},
		{"ml1", "", "", "own", "ml", "it's"},
		{"ml1", "app", "production", "ml_app", "ml", "a&b c"},
		{"ml1", "own", "production", "own", "ml", "it's"},
		{"ml1", "third", "production", "third", "ml", "from-passfile"},
		{"ml2", "listed", "d", "listed", "d", "clients"},
		{"ml2", "", "", "listed", "d", "of-url"},
		{"ml1", `o'b\r`, "", `o'b\r`, "ml", ""},
	} {
		got, err := c.Login(l.target, l.user, l.database)
		if err != nil {
			t.Errorf("%+v: %v", l, err)
			continue
		}
		if got.User != l.wantUser || got.Database != l.wantDatabase || got.Password != l.wantPassword {
			t.Errorf("%+v: got user %q, database %q, password %q", l, got.User, got.Database, got.Password)
		}
	}
	if _, err := c.Login("ml3", "app", "x"); err == nil {
		t.Error("a server that is not configured was found")
	}
}
