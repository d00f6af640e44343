package pghosts_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pghosts"
)

func TestOneOfSeveralHosts(t *testing.T) {
	parse := func() *pgconn.Config {
		cfg, err := pgconn.ParseConfig("postgres://a@one:1,two:2,[::1]:3/d?sslmode=prefer&target_session_attrs=read-write")
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	cfg := parse()
	if diff := cmp.Diff([]string{"one:1", "two:2", "[::1]:3"}, pghosts.Of(cfg)); diff != "" {
		t.Error(diff)
	}
	only := pghosts.At(cfg, "two:2")
	if diff := cmp.Diff([]string{"two:2"}, pghosts.Of(only)); diff != "" || len(pghosts.Ways(only)) != 2 || only.ValidateConnect != nil {
		t.Errorf("%d ways, %s", len(pghosts.Ways(only)), diff) // with TLS and without
	}
	if len(pghosts.Of(cfg)) != 3 || cfg.ValidateConnect == nil {
		t.Error("a copy was to be made")
	}
	if pghosts.Narrow(cfg, "three:3"); len(pghosts.Of(cfg)) != 3 {
		t.Errorf("a host that is none of them leaves %v", pghosts.Of(cfg))
	}
}

func TestThePrimaryIsMeantWhereNothingIsSaid(t *testing.T) {
	for text, want := range map[string]bool{"postgres://one,two/d": true, "postgres://one/d?sslmode=prefer": false} {
		cfg, err := pgconn.ParseConfig(text)
		if err != nil {
			t.Fatal(err)
		}
		if pghosts.AtPrimary(cfg); (cfg.ValidateConnect != nil) != want {
			t.Errorf("%s: asked for the primary is %t", text, !want)
		}
	}
}
