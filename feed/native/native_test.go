package native

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
	"pgshunt/testdata/pgml"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func open(t *testing.T, primary, replica *pgtest.Server, change func(*configs.Config)) (*feed.Run, *[]feed.Event) {
	t.Helper()
	cfg := configs.Default()
	cfg.Primary.URL = configs.URL(primary.URL("postgres", "postgres"))
	cfg.Replicas = []configs.Replica{{Name: "ml1", Server: configs.Server{URL: configs.URL(replica.URL("postgres", "postgres"))}, Feed: configs.FeedNative}}
	if change != nil {
		change(cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	events := new([]feed.Event)
	run, err := feed.Open(cfg, "ml1", feed.Options{Sink: func(e feed.Event) { *events = append(*events, e) }})
	if err != nil {
		t.Fatal(err)
	}
	return run, events
}

func checks(t *testing.T, run *feed.Run) (names []string, text string) {
	t.Helper()
	all, err := Check(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		name := p.Server + " " + p.Check
		if p.Blocks {
			name += "!"
		}
		names, text = append(names, name), text+p.What+"; "+p.Remedy+"; "+p.Note+"\n"
	}
	return names, text
}

func TestPostgresMLInThePrimary(t *testing.T) {
	primary := pgtest.Primary(t, pgtest.Options{Extensions: pgml.Files()})
	standby := pgtest.Standby(t, primary, pgtest.Options{Extensions: pgml.Files()})
	primary.Exec(t, "CREATE TABLE orders (id int)")
	run, events := open(t, primary, standby, nil)
	state, err := State(t.Context(), run)
	if err != nil || state.State != "absent" {
		t.Errorf("%+v, %v", state, err)
	}
	names, text := checks(t, run)
	if diff := cmp.Diff([]string{"primary shared_preload_libraries"}, names); diff != "" || !strings.Contains(text, "ALTER SYSTEM SET shared_preload_libraries = 'pgml'") {
		t.Errorf("%s\n%s", diff, text)
	}
	run.Print = true
	if err := Apply(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if have := installed(t, primary); have {
		t.Error("printing has made the extension")
	}
	run.Print = false
	for range 2 {
		if err := Apply(t.Context(), run); err != nil {
			t.Fatal(err)
		}
	}
	last := (*events)[len(*events)-1].Step
	if !installed(t, primary) || !strings.Contains(last, "pgml.predict") || !strings.Contains(last, "goes to the primary") {
		t.Errorf("installed: %v, %s", installed(t, primary), last)
	}
	if !pgtest.Eventually(func() bool {
		if state, err = State(t.Context(), run); err != nil {
			t.Fatal(err)
		}
		return state.State == "ready" && state.LagBytes == 0 && len(state.Tables) == 1
	}) {
		t.Errorf("%+v", state)
	}
	if names, text := checks(t, run); len(names) > 0 {
		t.Error(text) // the stand-in has no library
	}
}

func installed(t *testing.T, s *pgtest.Server) (have bool) {
	t.Helper()
	if err := s.Super(t, "postgres").QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pgml')").Scan(&have); err != nil {
		t.Fatal(err)
	}
	return have
}

func TestAServiceInstallsNoPostgresML(t *testing.T) {
	primary := pgtest.Primary(t)
	primary.Exec(t, "CREATE ROLE rds_superuser; CREATE ROLE app LOGIN")
	run, _ := open(t, primary, primary, func(c *configs.Config) { c.Primary.URL = configs.URL(primary.URL("app", "postgres")) })
	names, text := checks(t, run)
	if diff := cmp.Diff([]string{"ml1 standby!", "primary managed!"}, names); diff != "" {
		t.Error(diff)
	}
	for _, part := range []string{"it is the primary itself", "Amazon RDS installs only extensions of its own list", "this way is closed", "fdw or logical"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not said:\n%s", part, text)
		}
	}
	err := Apply(t.Context(), run)
	if blocked := (*feed.Blocked)(nil); !errors.As(err, &blocked) {
		t.Errorf("%v", err)
	}
}

func TestWhatIsNoStandby(t *testing.T) {
	primary := pgtest.Primary(t)
	run, _ := open(t, primary, pgtest.SharedReplica(t), nil)
	names, text := checks(t, run)
	if diff := cmp.Diff([]string{"ml1 standby!", "primary available!"}, names); diff != "" || !strings.Contains(text, "apt-get install postgresql-pgml-") {
		t.Errorf("%s\n%s", diff, text)
	}
	if err := Drop(t.Context(), run); err != nil {
		t.Error(err)
	}
	first := found{System: "1", Started: "monday", Address: "a:1"}
	for _, c := range []struct {
		primary, replica found
		what             string
	}{
		{first, found{System: "1", Started: "tuesday", Address: "b:1", Standby: true}, ""},
		{first, first, "it is the primary itself, which is no replica"},
		{first, found{System: "2", Started: "tuesday", Address: "b:1"}, "it is no copy of the primary, but another cluster"},
		{first, found{System: "2", Started: "tuesday", Address: "b:1", Standby: true}, "it is no copy of the primary, but another cluster"},
		{first, found{System: "1", Started: "tuesday", Address: "b:1"}, "it is a copy of the primary that no longer follows it, since it is not in recovery"},
		{first, found{Started: "tuesday", Standby: true}, "the servers do not tell whether it is a standby of this primary"},
		{found{System: "1", Standby: true}, found{System: "1", Standby: true}, "the primary is in recovery itself"},
	} {
		looked := &check{run: run}
		looked.standby(&c.primary, &c.replica)
		what := ""
		if len(looked.all) > 0 {
			what = looked.all[0].What
		}
		if what != c.what {
			t.Errorf("%+v: %q, expected %q", c.replica, what, c.what)
		}
	}
}

// A library that is not loaded at the start has no shared memory: the extension is not left.
func TestALibraryThatIsNotLoaded(t *testing.T) {
	files := map[string][]byte{
		"pgml.control": []byte("default_version = '9'\nschema = pgml\nrelocatable = false\nsuperuser = true\ntrusted = true\n"),
		"pgml--9.sql":  []byte("CREATE FUNCTION pgml.fails() RETURNS trigger LANGUAGE c AS '$libdir/autoinc', 'autoinc';\n"),
	}
	primary := pgtest.Primary(t, pgtest.Options{Extensions: files})
	standby := pgtest.Standby(t, primary, pgtest.Options{Extensions: files})
	run, _ := open(t, primary, standby, nil)
	err := Apply(t.Context(), run)
	if err == nil || !strings.Contains(err.Error(), "shared_preload_libraries") || !strings.Contains(err.Error(), "restart") || installed(t, primary) {
		t.Errorf("%v, installed: %v", err, installed(t, primary))
	}
	primary.Exec(t, "CREATE EXTENSION pgml")
	if names, _ := checks(t, run); !cmp.Equal(names, []string{"primary shared_preload_libraries!"}) {
		t.Errorf("%q", names)
	}
}
