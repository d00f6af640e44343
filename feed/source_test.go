package feed

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgshunt/configs"
)

// A replica is given no parameter that its version would refuse, unless its own source says so.
func TestParametersThatAReplicaDoesNotKnow(t *testing.T) {
	const url = "postgres://app@a.example/shop?sslmode=require&sslnegotiation=direct&sslsni=1&require_auth=scram-sha-256&target_session_attrs=primary"
	for _, c := range []struct {
		source  configs.URL
		version int
		want    string
	}{
		{"", 130016, "require_auth=scram-sha-256 sslmode=require target_session_attrs=read-write"},
		{"", 140000, "require_auth=scram-sha-256 sslmode=require sslsni=1 target_session_attrs=primary"},
		{"", 160009, "require_auth=scram-sha-256 sslmode=require sslsni=1 target_session_attrs=primary"},
		{"", 170000, "require_auth=scram-sha-256 sslmode=require sslnegotiation=direct sslsni=1 target_session_attrs=primary"},
		{url, 130016, "require_auth=scram-sha-256 sslmode=require sslnegotiation=direct sslsni=1 target_session_attrs=primary"},
	} {
		cfg := configs.Default()
		cfg.Primary.URL = url
		cfg.Replicas = []configs.Replica{{Name: "ml1", Feed: configs.FeedFDW, Server: configs.Server{URL: "postgres://app@ml/shop"}, Source: configs.Server{URL: c.source}}}
		run, err := Open(cfg, "ml1", Options{})
		if err != nil {
			t.Fatal(err)
		}
		settings, err := run.SourceSettings(c.version)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			if !slices.Contains([]string{"host", "port", "dbname", "user"}, name) {
				got = append(got, fmt.Sprintf("%s=%s", name, settings[name]))
			}
		}
		if joined := strings.Join(got, " "); joined != c.want {
			t.Errorf("source %q, version %d: %s", c.source, c.version, joined)
		}
	}
}
