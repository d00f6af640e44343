package verify

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

const liveTables = `CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, note text);
	CREATE TABLE names (name text PRIMARY KEY, n int); CREATE TABLE pairs (a int, b text, v int, PRIMARY KEY (a, b));
	CREATE TABLE history (who int, what text); ALTER TABLE history REPLICA IDENTITY FULL;
	CREATE TABLE hot (id int PRIMARY KEY, n bigint)`

const liveRows = `INSERT INTO accounts SELECT i, i, repeat('x', i % 50) FROM generate_series(1, 3000) i; INSERT INTO names SELECT 'Name ' || i, i FROM generate_series(1, 1000) i;
	INSERT INTO pairs SELECT i % 40, 'b' || i, i FROM generate_series(1, 500) i; INSERT INTO history SELECT i % 3, 'what' FROM generate_series(1, 300) i;
	INSERT INTO hot VALUES (1, 0), (2, 0)`

// subscribed makes a primary and a replica that is subscribed to it under the feed's name.
func subscribed(t *testing.T) (databases, *feed.Run) {
	t.Helper()
	settings := pgtest.Options{Settings: map[string]string{"wal_level": "logical"}}
	d := databases{primary: pgtest.Primary(t, settings), replica: pgtest.Replica(t, settings), ours: "postgres", theirs: "postgres"}
	d.both(t, liveTables)
	d.primary.Exec(t, liveRows)
	run := d.run(t, configs.FeedLogical, nil)
	d.primary.Exec(t, "CREATE PUBLICATION "+run.Name+" FOR TABLE accounts, names, pairs, history, hot")
	d.replica.Exec(t, "CREATE SUBSCRIPTION "+run.Name+" CONNECTION '"+d.primary.URL(d.primary.Superuser(), "postgres")+"' PUBLICATION "+run.Name)
	conn := d.replica.Super(t, "postgres")
	if !pgtest.Eventually(func() bool {
		var all bool
		err := conn.QueryRow(context.Background(), "SELECT coalesce(bool_and(srsubstate = 'r'), false) FROM pg_subscription_rel").Scan(&all)
		return err == nil && all
	}) {
		t.Fatal("the tables are not synchronised")
	}
	return d, run
}

// writer changes the primary until the returned function is called, which says how many
// transactions there were.
func (d *databases) writer(t *testing.T) (stop func() int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done atomic.Int64
	ended := make(chan error, 2)
	for range 2 {
		conn := pgtest.Connect(t, d.primary.URL(d.primary.Superuser(), "postgres"))
		go func() {
			for ctx.Err() == nil {
				id := 10 + rand.IntN(2900) // the damaged rows are others: an update would mend them
				_, err := conn.Exec(context.Background(), fmt.Sprintf(`BEGIN; UPDATE hot SET n = n + 1 WHERE id = %[2]d; UPDATE accounts SET balance = balance + 1 WHERE id = %[1]d;
					DELETE FROM names WHERE n = %[1]d; INSERT INTO names VALUES ('new ' || %[1]d, %[1]d) ON CONFLICT DO NOTHING;
					UPDATE pairs SET v = v + 1 WHERE a = %[1]d %% 40 AND b = 'b' || %[1]d %% 500; INSERT INTO history VALUES (%[1]d, 'what');
					DELETE FROM history WHERE ctid = (SELECT ctid FROM history WHERE who > 3 LIMIT 1); COMMIT`, id, id%2+1))
				if err != nil {
					ended <- err
					return
				}
				done.Add(1)
			}
			ended <- nil
		}()
	}
	return func() int64 {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		return done.Load()
	}
}

// Rows that change while they are compared are no difference, and rows that differ are found
// and mended among them.
func TestUnderWritesOnlyRealDifferencesAreTold(t *testing.T) {
	d, run := subscribed(t)
	stop := d.writer(t)
	for _, rows := range []int{0, 200, 1000} {
		report := verify(t, run, Options{RangeRows: rows})
		for _, one := range report.Tables {
			if one.State != Equal && one.State != Unsettled {
				t.Errorf("%s %s: %+v", one.Name, one.State, one)
			}
		}
	}
	d.replica.Exec(t, `SET session_replication_role = replica; UPDATE accounts SET note = 'wrong' WHERE id IN (7, 2999); DELETE FROM accounts WHERE id = 3;
		INSERT INTO accounts VALUES (-1, 0, ''); INSERT INTO pairs VALUES (1, 'none', 0); INSERT INTO history VALUES (0, 'never'); DELETE FROM history WHERE who = 1`)
	report := verify(t, run, Options{})
	if diff := cmp.Diff([]string{"-1 extra", "2999 changed", "3 missing", "7 changed"}, keys(report, "accounts")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"(1, none) extra"}, keys(report, "pairs")); diff != "" {
		t.Error(diff)
	}
	if one := table(report, "history"); one.Missing != 100 || one.Extra != 1 {
		t.Errorf("%+v", one)
	}
	report = verify(t, run, Options{Repair: true})
	for _, one := range report.Tables {
		if one.State != Equal && one.State != Unsettled || one.Name == "accounts" && one.Repaired != 4 {
			t.Errorf("after the repair: %+v", one)
		}
	}
	if n := stop(); n < 20 {
		t.Errorf("only %d transactions", n)
	}
	for _, one := range verify(t, run, Options{}).Tables {
		if one.State != Equal {
			t.Errorf("at rest: %+v", one)
		}
	}
}

func table(r Report, name string) *TableReport {
	for i := range r.Tables {
		if r.Tables[i].Name == name {
			return &r.Tables[i]
		}
	}
	return new(TableReport)
}

func keys(r Report, name string) (all []string) {
	for _, k := range table(r, name).Keys {
		all = append(all, k.Key+" "+k.What)
	}
	slices.Sort(all)
	return all
}

// A subscription that applies nothing ends the command and is not taken for a difference.
func TestAStoppedSubscriptionIsSaid(t *testing.T) {
	d, run := subscribed(t)
	d.replica.Exec(t, "ALTER TABLE accounts ADD n int NOT NULL DEFAULT 1; ALTER TABLE accounts ALTER n DROP DEFAULT")
	d.primary.Exec(t, "INSERT INTO accounts VALUES (5000, 1, '')")
	_, err := Run(context.Background(), run, Options{Patience: 300 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "nothing was applied for 300ms") {
		t.Errorf("%v", err)
	}
	d.replica.Exec(t, "ALTER SUBSCRIPTION "+run.Name+" DISABLE")
	if _, err := Run(context.Background(), run, Options{}); err == nil || !strings.Contains(err.Error(), "it is disabled") {
		t.Errorf("%v", err)
	}
}
