package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
)

func TestFeedVerify(t *testing.T) {
	s := pgtest.Primary(t)
	ours, theirs := s.NewDatabase(t), s.NewDatabase(t)
	for _, database := range []string{ours, theirs} {
		s.ExecIn(t, database, "CREATE TABLE orders (id int PRIMARY KEY, v text); INSERT INTO orders SELECT i, 'v' || i FROM generate_series(1, 500) i; CREATE TABLE log (v text)")
	}
	verify := inProcess(feedConfig(t, fmt.Sprintf("primary: {url: %q}\nreplicas:\n  - {name: ml1, url: %q, feed: dump}\n", s.URL(s.Superuser(), ours), s.URL(s.Superuser(), theirs))))
	expect := func(status int, args string, wants ...string) string {
		t.Helper()
		out, got, err := verify(t.Context(), strings.Fields("verify "+args)...)
		if err != nil || got != status {
			t.Fatalf("%s: status %d, %v\n%s", args, got, err, out)
		}
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", args, want, out)
			}
		}
		return out
	}
	expect(0, "", "ml1 (dump): equal, 2 tables, 500 rows, ", "public.orders  equal  500   500")
	s.ExecIn(t, theirs, "UPDATE orders SET v = 'x' WHERE id = 7; DELETE FROM orders WHERE id = 499; INSERT INTO log VALUES ('never')")
	expect(1, "", "ml1 (dump): not equal", "1 missing, 1 changed", "differs  public.orders: 7 is changed", "differs  public.orders: 499 is missing", "1 extra")
	expect(1, "--table nothing.*", "none is fed that is asked for")
	expect(1, "--repair --print", "-- write 1 of the primary's rows to public.orders on ml1", "not equal")
	expect(0, "--repair", "rows repaired in public.orders: 1", "rows repaired in public.log: 1", "2 repaired")
	lines := strings.Split(strings.TrimSpace(expect(0, "--json")), "\n")
	var last feedVerified
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if !last.OK || len(last.Replicas) != 1 || last.Replicas[0].Rows != 500 || len(last.Replicas[0].Tables) != 2 || last.Replicas[0].Ranges < 2 {
		t.Errorf("%+v", last)
	}
}
