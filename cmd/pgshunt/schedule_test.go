package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/dump"
	"pgshunt/internal/pgtest"
)

// lines is a log that a test reads while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

func TestCopiesAreRenewedBySchedule(t *testing.T) {
	primary, replica := pgtest.Primary(t), pgtest.Replica(t)
	at, on := primary.NewDatabase(t), replica.NewDatabase(t)
	cfg := configs.Default()
	cfg.Primary.URL = configs.URL(primary.URL(primary.Superuser(), at))
	cfg.Replicas = []configs.Replica{{
		Name: "ml1", Server: configs.Server{URL: configs.URL(replica.URL(replica.Superuser(), on))}, Feed: configs.FeedDump,
		Schedule: configs.Duration(time.Second / 10),
	}}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	primary.ExecIn(t, at, "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	log := &lines{}
	s := &schedules{log: slog.New(slog.NewJSONHandler(log, nil))}
	defer func() {
		s.stop()
		s.wait()
	}()
	s.set(cfg)
	if !pgtest.Eventually(func() bool { return log.has("run pgshunt feed apply") }) {
		t.Fatalf("the first copy is not asked for: %s", log.b.String())
	}
	run, err := feed.Open(cfg, "ml1", feed.Options{})
	if err == nil {
		err = dump.Apply(context.Background(), run)
	}
	if err != nil {
		t.Fatal(err)
	}
	primary.ExecIn(t, at, "INSERT INTO a VALUES (2)")
	conn := replica.Super(t, on)
	rows := func(want int) func() bool {
		return func() bool {
			var n int
			return conn.QueryRow(context.Background(), "SELECT count(*) FROM a").Scan(&n) == nil && n == want
		}
	}
	if !pgtest.Eventually(rows(2)) {
		t.Fatalf("the copy was not renewed: %s", log.b.String())
	}
	// A configuration without the schedule ends it, one with it begins it again.
	none := *cfg
	none.Replicas = []configs.Replica{cfg.Replicas[0]}
	none.Replicas[0].Schedule = 0
	s.set(&none)
	primary.ExecIn(t, at, "INSERT INTO a VALUES (3)")
	if len(s.running) != 0 || !rows(2)() {
		t.Error("copies go on without a schedule")
	}
	s.set(cfg)
	if !pgtest.Eventually(rows(3)) {
		t.Errorf("the copy was not renewed after a reload: %s", log.b.String())
	}
}
