package configs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHowAReplicaReachesThePrimary(t *testing.T) {
	for _, c := range []struct {
		name, primary, source string
		want                  map[string]string
	}{
		{
			"as pgshunt does", `{url: "postgres://app:s%27x@db/production?sslmode=require&application_name=pgshunt&connect_timeout=3"}`, "",
			map[string]string{"host": "db", "port": "5432", "dbname": "production", "user": "app", "password": "s'x", "sslmode": "require", "connect_timeout": "3"},
		},
		{
			"with files of its own", `{url: "postgres://app@db/production"}`,
			`{url: "postgres://feed@db.internal:5433/production?sslmode=verify-full&sslrootcert=/none/of%20ours.crt&sslcert=/none/c.crt&sslkey=/none/c.key", password: p}`,
			map[string]string{
				"host": "db.internal", "port": "5433", "dbname": "production", "user": "feed", "password": "p",
				"sslmode": "verify-full", "sslrootcert": "/none/of ours.crt", "sslcert": "/none/c.crt", "sslkey": "/none/c.key",
			},
		},
		{
			"as another role", `{url: "postgres://app@db/production?role=the%20owner&options=-c%20work_mem%3D1MB"}`, "",
			map[string]string{"host": "db", "port": "5432", "dbname": "production", "user": "app", "options": `-c work_mem=1MB -c role=the\ owner`},
		},
		{
			"as names and values", `{url: "postgres://app@db/production"}`,
			`{url: "host = a,b port=5432,5433 user='o\\'b' dbname=d sslmode=prefer target_session_attrs=read-write sslrootcert='/no ne'"}`,
			map[string]string{
				"host": "a,b", "port": "5432,5433", "dbname": "d", "user": "o'b",
				"sslmode": "prefer", "target_session_attrs": "read-write", "sslrootcert": "/no ne",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("PGPASSFILE", "/dev/null")
			source := c.source
			if source == "" {
				source = "{}"
			}
			cfg := mustParse(t, "primary: "+c.primary+"\nreplicas:\n  - {name: ml1, url: \"postgres://ml@ml/d\", feed: fdw, source: "+source+"}\n", nil)
			got, err := cfg.SourceSettings("ml1")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestASourceThatCannotBeUsed(t *testing.T) {
	for _, text := range []URL{"host", "host='a", "postgres://u@h:x/d", "sslmode=perhaps host=a"} {
		if err := text.checkSource(); err == nil {
			t.Errorf("%q passes", text)
		}
	}
}
