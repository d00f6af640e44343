package configs

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected messages in testdata")

// environment is a getenv for tests.
type environment map[string]string

func (e environment) get(name string) (string, bool) {
	value, ok := e[name]
	return value, ok
}

const primaryOnly = "primary: {url: \"postgres://app@db/production\"}\n"

func mustParse(t *testing.T, text string, env environment) *Config {
	t.Helper()
	c, err := Parse("test.yaml", []byte(text), env.get)
	if err != nil {
		t.Fatalf("unexpected error:\n%v", err)
	}
	return c
}

func TestSampleFilesAreValid(t *testing.T) {
	t.Setenv("APP_PASSWORD", "a")
	t.Setenv("FEEDER_PASSWORD", "a")
	t.Setenv("READER_PASSWORD", "a")
	t.Setenv("REPORTING_PASSWORD", "b")
	t.Setenv("ML_PASSWORD", "c")
	t.Setenv("ANALYST_PASSWORD", "d")
	files, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	samples := 0
	for _, f := range files {
		if f == "compose.yaml" {
			continue // Docker's, not ours
		}
		samples++
		if _, err := Load(f); err != nil {
			t.Errorf("%v", err)
		}
	}
	if samples < 5 {
		t.Errorf("found %d sample files, expected 5 at least", samples)
	}
}

func TestMinimalFileHasTheDefaults(t *testing.T) {
	got := mustParse(t, primaryOnly, nil)
	want := Default()
	want.Primary.URL = "postgres://app@db/production"
	want.TLS.Mode = TLSDisable
	want.File = "test.yaml"
	got.Warnings = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// The reference file must not fall behind the types: every key is there, if only
// in a comment, and what it shows as a default is one.
func TestReferenceFileHasEveryKeyWithItsDefault(t *testing.T) {
	text, err := os.ReadFile("pgshunt.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for _, f := range fieldsOf(v) {
			if !strings.Contains(string(text), f.name+":") {
				t.Errorf("key %s is missing in pgshunt.yaml", f.name)
			}
			ft := f.value.Type()
			if ft.Kind() == reflect.Slice {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct {
				walk(reflect.New(ft).Elem())
			}
		}
	}
	walk(reflect.ValueOf(Config{}))

	c, err := Parse("pgshunt.yaml", text, environment{"APP_PASSWORD": "x"}.get)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.complete()
	// What the file gives as examples.
	want.Primary, want.Replicas = c.Primary, c.Replicas
	want.Auth.Users, want.Routing.Rules, want.Peers = c.Auth.Users, c.Routing.Rules, c.Peers
	want.File, want.Warnings = c.File, c.Warnings
	want.Databases, want.Routing.Hints.Users = []string{}, Patterns{}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("pgshunt.yaml shows other values than the defaults:\n%s", diff)
	}
}

// Each testdata/bad/NAME.yaml has its messages in NAME.txt.
func TestBadFilesAreExplained(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata/bad: %v", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(name+".yaml", data, environment{"SECRET": "hunter2", "NUMBER": "12"}.get)
			if e := (*Error)(nil); !errors.As(err, &e) {
				t.Fatalf("got error %v, expected an *Error", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the message shows the secret:\n%v", err)
			}
			golden := strings.TrimSuffix(f, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(err.Error()+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, readErr := os.ReadFile(golden)
			if readErr != nil {
				t.Fatal(readErr)
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestVariablesAreExpanded(t *testing.T) {
	c := mustParse(t, primaryOnly+`
pool: {size: "${SIZE}", wait: "${WAIT}", reuse: "${REUSE}"}
auth:
  users:
    - name: ${NAME}
      password: a$${b}$$c${PASSWORD}$
`, environment{"SIZE": "7", "WAIT": "3s", "REUSE": "false", "NAME": "42", "PASSWORD": "${NAME}"})
	u := c.Auth.Users[0]
	if u.Name != "42" || string(u.Password) != "a${b}$$c${NAME}$" {
		t.Errorf("user %q with password %q", u.Name, string(u.Password))
	}
	if c.Pool.Size != 7 || c.Pool.Wait != Duration(3*time.Second) || c.Pool.Reuse {
		t.Errorf("pool %+v", c.Pool)
	}
}

func TestFormsOfReadsAndLists(t *testing.T) {
	for text, want := range map[string]Reads{
		"primary":       {To: ToPrimary},
		"replica":       {To: ToReplica},
		"{to: replica}": {To: ToReplica},
	} {
		c := mustParse(t, primaryOnly+"replicas: [{name: ml1, url: \"postgres://h/d\"}]\nrouting: {reads: "+text+"}", nil)
		if c.Routing.Reads != want {
			t.Errorf("reads: %s gives %+v, expected %+v", text, c.Routing.Reads, want)
		}
	}
	c := mustParse(t, primaryOnly+"routing: {rules: [{match: {user: [a, b], kind: read}, to: primary}]}", nil)
	want := Match{User: Patterns{"a", "b"}, Kind: []Kind{KindRead}}
	if diff := cmp.Diff(want, c.Routing.Rules[0].Match); diff != "" {
		t.Error(diff)
	}
}

func TestAnchorsStandForTheirValue(t *testing.T) {
	c := mustParse(t, "primary: &db {url: \"postgres://app@db/production\"}\npool: {wait: &t 7s, idle: *t}\n", nil)
	if c.Pool.Idle != Duration(7*time.Second) {
		t.Errorf("idle is %s", c.Pool.Idle)
	}
}

func TestValidateNamesTheKeys(t *testing.T) {
	c := Default()
	c.Pool.Size = 0
	err := c.Validate()
	want := "primary.url: missing; write a connection string such as postgres://app@db.example.com:5432/production\n" +
		"pool.size: 0 backends cannot serve anybody; write 1 or more"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("fuzz.yaml", data, environment{"SECRET": "hunter2"}.get)
		if err != nil {
			if e := (*Error)(nil); !errors.As(err, &e) || len(e.Problems) == 0 {
				t.Fatalf("error of another type: %v", err)
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("valid when parsed and not afterwards: %v", err)
		}
	})
}

// The compose file carries a configuration of its own.
func TestComposeFileHasAValidConfiguration(t *testing.T) {
	data, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Configs map[string]struct{ Content string }
	}
	if err := yaml.Unmarshal(data, &compose); err != nil {
		t.Fatal(err)
	}
	content := compose.Configs["pgshunt"].Content
	if content == "" {
		t.Fatal("no configs.pgshunt.content")
	}
	if _, err := Parse("compose.yaml", []byte(content), environment{}.get); err != nil {
		t.Error(err)
	}
}
