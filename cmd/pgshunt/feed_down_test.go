package main

import (
	"fmt"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
	"pgshunt/testdata/pgml"
)

// While a server is down status says what that means for those who use the replica: a copy serves
// on and is as old as it is, a foreign table has no rows, and what follows the primary stands still.
func TestFeedStatusWhileAServerIsDown(t *testing.T) {
	primary := pgtest.Primary(t, pgtest.Options{Settings: map[string]string{"wal_level": "logical", "listen_addresses": "127.0.0.1"}, Extensions: pgml.Files()})
	standby := pgtest.Standby(t, primary, pgtest.Options{Extensions: pgml.Files()})
	replica := pgtest.Primary(t)
	config := fmt.Sprintf("primary: {url: %q}\nreplicas:\n", primary.URL("postgres", "postgres"))
	for _, way := range []string{"dump", "fdw", "logical"} {
		config += fmt.Sprintf("  - {name: %s, url: %q, feed: %[1]s, tables: [public.a]}\n", way, replica.URL("postgres", replica.NewDatabase(t)))
	}
	config += fmt.Sprintf("  - {name: native, url: %q, feed: native, tables: [public.a]}\n", standby.URL("postgres", "postgres"))
	pgshunt := inProcess(feedConfig(t, config))
	expect := func(want int, args string, parts ...string) {
		t.Helper()
		out, got, err := pgshunt(t.Context(), strings.Fields(args)...)
		if err != nil || got != want {
			t.Errorf("%s: status %d, %v\n%s", args, got, err, out)
		}
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("%s: no %q in\n%s", args, part, out)
			}
		}
	}
	primary.Exec(t, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
	expect(0, "apply")
	if err := primary.Stop(); err != nil {
		t.Fatal(err)
	}
	expect(0, "status --replica dump", "dump (dump): ready, ", "public.a  ready  1", "note     primary: no connection: ", "the copies are as they were")
	expect(1, "status --replica fdw", "fdw (fdw): broken\n", "public.a  broken  -", "blocks   primary: no connection: ")
	expect(1, "status --replica logical", "logical (logical): stopped\n", "blocks   primary: no connection: ", "goes on by itself")
	expect(1, "status --replica native", "native (native): stopped\n", "public.a  stopped", "blocks   primary: no connection: ")
	if err := primary.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*pgtest.Server{replica, standby} {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	for _, way := range []string{"dump", "fdw", "logical", "native"} {
		expect(1, "status --replica "+way, fmt.Sprintf("%s (%[1]s): broken", way), "blocks   "+way+": no connection: ")
	}
	expect(1, "status --replica logical", "its slot keeps ", "until it answers its slot keeps WAL on the primary")
	if err := primary.Stop(); err != nil {
		t.Fatal(err)
	}
	expect(1, "status", "dump (dump): broken", "fdw (fdw): broken", "logical (logical): broken", "native (native): broken", "note     primary: no connection: ")
}
