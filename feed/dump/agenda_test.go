package dump

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

func TestTasksFollowWhatTheyWaitFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := make([]*task, rapid.IntRange(0, 20).Draw(t, "tasks"))
		needs := make(map[*task][]*task)
		for i := range all {
			all[i] = &task{size: rapid.Int64Range(0, 3).Draw(t, "size")}
			for _, before := range rapid.SliceOfNDistinct(rapid.IntRange(0, max(0, i-1)), 0, i, rapid.ID).Draw(t, "after") {
				all[i].after(all[before])
				needs[all[i]] = append(needs[all[i]], all[before])
			}
		}
		a := newAgenda(all)
		var mu sync.Mutex
		var done []*task
		var workers sync.WaitGroup
		for range rapid.IntRange(1, 4).Draw(t, "workers") {
			workers.Go(func() {
				for one, idle := a.next(context.Background()); one != nil; one, idle = a.next(context.Background()) {
					if idle < 0 || idle > 3 {
						t.Errorf("%d have nothing to do", idle)
					}
					mu.Lock()
					for _, before := range needs[one] {
						if !slices.Contains(done, before) {
							t.Errorf("task %d began before task %d was done", slices.Index(all, one), slices.Index(all, before))
						}
					}
					done = append(done, one)
					mu.Unlock()
					a.done(one)
				}
			})
		}
		workers.Wait()
		if len(done) != len(all) {
			t.Errorf("%d of %d tasks were done", len(done), len(all))
		}
	})
}

func TestTheLargestTaskIsFirst(t *testing.T) {
	small, large, later := &task{size: 1}, &task{size: 2}, &task{size: 3, waits: 1}
	a := newAgenda([]*task{small, large, later})
	if got, idle := a.next(t.Context()); got != large || idle != 0 {
		t.Errorf("%+v", got)
	}
	a.arrived(later)
	if got, _ := a.next(t.Context()); got != later {
		t.Errorf("%+v", got)
	}
}

func TestWhoWaitsIsCounted(t *testing.T) {
	first, second := &task{}, &task{waits: 1}
	a := newAgenda([]*task{first, second})
	if got, _ := a.next(t.Context()); got != first {
		t.Fatalf("%+v", got)
	}
	var others sync.WaitGroup
	idle := make(chan int, 2)
	for range 2 {
		others.Go(func() {
			if one, n := a.next(t.Context()); one != nil {
				idle <- n
				a.done(one)
			}
		})
	}
	if !pgtest.Eventually(func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.idle == 2
	}) {
		t.Fatal("nobody waits")
	}
	a.arrived(second)
	if n := <-idle; n != 1 {
		t.Errorf("%d have nothing to do, want 1", n)
	}
	a.done(first)
	others.Wait()
}

func TestWaitingForATaskEndsWithTheWork(t *testing.T) {
	a := newAgenda([]*task{{waits: 1}})
	group, ctx := errgroup.WithContext(t.Context())
	group.Go(func() error {
		if got, _ := a.next(ctx); got != nil {
			t.Errorf("%+v", got)
		}
		return nil
	})
	failed := errors.New("failed")
	group.Go(func() error { return failed })
	if err := group.Wait(); err != failed {
		t.Error(err)
	}
}

// A foreign key locks both of its tables.
func TestForeignKeysInACircleAreMade(t *testing.T) {
	b := newBed(t, nil)
	b.Jobs = 4
	exec(t, b.primary, `CREATE TABLE a (id int PRIMARY KEY, other int); CREATE TABLE b (id int PRIMARY KEY, other int REFERENCES a);
		CREATE TABLE c (id int PRIMARY KEY, other int REFERENCES b, self int REFERENCES c) PARTITION BY RANGE (id);
		CREATE TABLE c1 PARTITION OF c FOR VALUES FROM (0) TO (500); CREATE TABLE c2 PARTITION OF c DEFAULT;
		INSERT INTO a SELECT i, i FROM generate_series(1, 1000) i; INSERT INTO b SELECT i, i FROM generate_series(1, 1000) i;
		INSERT INTO c SELECT i, i, 1 FROM generate_series(1, 1000) i;
		ALTER TABLE a ADD FOREIGN KEY (other) REFERENCES c, ADD FOREIGN KEY (other) REFERENCES b, ADD FOREIGN KEY (other) REFERENCES a`)
	for range 3 {
		b.refresh(t)
		b.equal(t)
		// Of those that a server makes for partitions, 13 makes more where a partition is attached.
		const keys = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated AND conparentid = 0 AND connamespace = 'public'::regnamespace"
		if want, got := value(t, b.primary, keys), value(t, b.replica, keys); want != got {
			t.Errorf("%s foreign keys, want %s", got, want)
		}
	}
}

// The rows of one table wait here until the indexes of the other are made.
func TestIndexesAreMadeWhileRowsOfOtherTablesCome(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE TABLE small (id int PRIMARY KEY); INSERT INTO small VALUES (1);
		CREATE TABLE large (id int PRIMARY KEY, filling text); INSERT INTO large SELECT i, repeat('x', 1000) FROM generate_series(1, 1000) i`)
	b.hear = func(e feed.Event) {
		switch {
		case e.Status == feed.StatusStart && e.Step == stepRows:
			const staged = "SELECT format('BEGIN; LOCK TABLE %I.large', nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relname = 'large' AND nspname LIKE 'pgshunt\\_new%'"
			exec(t, b.replica, value(t, b.replica, staged))
		case e.Status == feed.StatusDone && e.Step == "make the indexes of public.small and gather statistics":
			exec(t, b.replica, "COMMIT")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Refresh(ctx, b.Run); err != nil {
		t.Fatal(err)
	}
	b.equal(t)
}
