package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/pgtest"
	"pgshunt/internal/wire"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// open returns pools with one target, and the key of a database of the shared server.
func open(t *testing.T, cfg Config) (*Pools, Key) {
	t.Helper()
	server := pgtest.SharedPrimary(t)
	db := server.NewDatabase(t)
	pgtest.NoLeaks(t)
	cfg.ConnectTimeout = pgtest.Patience
	cfg.Log = slog.New(slog.DiscardHandler)
	if cfg.Prepared == 0 {
		cfg.Prepared = 10
	}
	pools := New(cfg, []*Target{{Name: "primary", Login: func(user, database string) (*pgconn.Config, error) {
		return pgconn.ParseConfig(server.URL(user, database))
	}}})
	t.Cleanup(pools.Close)
	return pools, Key{Target: "primary", User: "postgres", Database: db}
}

// user is an Owner that sends one query at a time.
type user struct {
	row  string
	err  string
	done chan error
}

func (u *user) Receive(b *Backend) error {
	for {
		var m wire.Message
		ok, err := b.Reader.Next(&m)
		if err != nil || !ok {
			return err
		}
		switch m.Type {
		case 'D':
			u.row = string(m.Body()[6:])
		case 'E':
			u.err = string(m.Body())
		case 'Z':
			u.done <- nil
			return nil
		}
	}
}

func (u *user) Lost(_ *Backend, err error) { u.done <- err }

// ask runs a query on b, which u gets attached for it.
func (u *user) ask(b *Backend, sql string) (string, error) {
	u.done = make(chan error, 2)
	u.row, u.err = "", ""
	if !b.Attach(u) {
		return "", errors.New("lost before it was attached")
	}
	out, _ := (&pgproto3.Query{String: sql}).Encode(nil)
	if err := errors.Join(b.Writer.Append(nil, out), b.Writer.Flush(nil)); err != nil {
		return "", err
	}
	if err := <-u.done; err != nil {
		return "", err
	}
	if u.err != "" {
		return "", errors.New(u.err)
	}
	return u.row, nil
}

func acquire(t *testing.T, p *Pool) *Backend {
	t.Helper()
	if b := p.TryAcquire(nil); b != nil {
		return b
	}
	ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
	defer cancel()
	b, err := p.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Many users of few backends, some of which leave them dirty: nobody sees what
// another one has left, and never are there more backends than the size allows.
func TestBackendsAreSharedWithoutTraces(t *testing.T) {
	pools, key := open(t, Config{Size: 3})
	p := pools.Get(key)
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			var u user
			for n := range 50 {
				b, err := p.Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				got, err := u.ask(b, "SELECT current_setting('work_mem') || ' ' || (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())")
				if err != nil || got != "4MB 0" {
					t.Errorf("%q, %v", got, err)
				}
				state := State((i + n) % 4)
				switch state {
				case Dirty:
					_, err = u.ask(b, "SET work_mem = '1MB'; SELECT pg_advisory_lock(1)")
				case InTransaction:
					_, err = u.ask(b, "BEGIN; SET work_mem = '1MB'; SELECT pg_advisory_xact_lock(2)")
				}
				if err != nil {
					t.Error(err)
				}
				pools.Release(b, state)
			}
		})
	}
	work.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total > 3 || p.waiters.Len() != 0 {
		t.Errorf("%d backends, %d waiters", p.total, p.waiters.Len())
	}
}

// A backend that was handed to somebody who stopped waiting in the same moment
// goes on to the next in line.
func TestGivingUpLosesNoBackend(t *testing.T) {
	pools, key := open(t, Config{Size: 1})
	p := pools.Get(key)
	b := acquire(t, p)
	var work sync.WaitGroup
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan *Backend, 1)
		work.Go(func() {
			b, _ := p.Acquire(ctx)
			got <- b
		})
		work.Go(cancel)
		pools.Release(b, Clean)
		if b = <-got; b == nil {
			b = acquire(t, p)
		}
		work.Wait()
	}
	pools.Release(b, Clean)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.total != 1 || len(p.idle) != 1 || p.waiters.Len() != 0 {
		t.Errorf("%d backends, %d of them idle, %d waiters", p.total, len(p.idle), p.waiters.Len())
	}
}

func TestWaitEndsWithItsCause(t *testing.T) {
	pools, key := open(t, Config{Size: 1})
	p := pools.Get(key)
	b := acquire(t, p) // before there is a bound: a login may take its time
	defer pools.Release(b, Clean)
	pools.cfg.Wait = time.Millisecond
	_, err := p.Acquire(t.Context())
	if e := pgerr.From(err); e.Code != pgerr.TooManyConnections || e.Severity != "ERROR" {
		t.Error(err)
	}
	why := errors.New("why")
	pools.cfg.Wait = time.Hour
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := p.Acquire(ctx); !errors.Is(err, why) {
		t.Error(err)
	}
}

// What the server answers to a login is what the client is told.
func TestLoginFailurePassesTheServersAnswer(t *testing.T) {
	pools, key := open(t, Config{Size: 1})
	for k, code := range map[Key]string{
		{key.Target, "nobody", key.Database}: "28000",
		{key.Target, key.User, "nowhere"}:    "3D000",
	} {
		_, err := pools.Get(k).Acquire(t.Context())
		if e := pgerr.From(err); e.Code != code || e.Severity != "FATAL" {
			t.Errorf("%v: %v", k, err)
		}
	}
}

func TestUnreachableServerIsCannotConnect(t *testing.T) {
	pools := New(Config{Size: 1, ConnectTimeout: pgtest.Patience, Prepared: 1, Log: slog.New(slog.DiscardHandler)},
		[]*Target{{Name: "primary", Login: func(user, database string) (*pgconn.Config, error) {
			return pgconn.ParseConfig(fmt.Sprintf("postgres://%s@127.0.0.1:1/%s?sslmode=disable", user, database))
		}}})
	defer pools.Close()
	_, err := pools.Get(Key{"primary", "a", "b"}).Acquire(t.Context())
	if e := pgerr.From(err); e.Code != pgerr.CannotConnect || e.Hint == "" {
		t.Error(err)
	}
}

func TestIdleAndOldBackendsExpire(t *testing.T) {
	pools, key := open(t, Config{Size: 4, Idle: time.Hour, Lifetime: 24 * time.Hour})
	p := pools.Get(key)
	var all []*Backend
	for range 4 {
		all = append(all, acquire(t, p))
	}
	used := all[3]
	for _, b := range all[:3] {
		pools.Release(b, Clean)
	}
	now := time.Now()
	p.mu.Lock()
	p.idle[0].idleAt = now.Add(-2 * time.Hour)
	p.idle[1].born = now.Add(-25 * time.Hour)
	kept := p.idle[2]
	p.mu.Unlock()
	p.expire(now)
	if !pgtest.Eventually(func() bool { return pools.Load("primary") == 1 && total(p) == 2 }) {
		t.Errorf("%d backends are left", total(p))
	}
	if b := p.TryAcquire(nil); b != kept {
		t.Error("another backend is left than the one that is neither idle for long nor old")
	}
	var u user
	if _, err := u.ask(used, "SELECT 1"); err != nil {
		t.Errorf("a backend in use was closed: %v", err)
	}
	pools.Release(used, Clean)
	pools.Release(kept, Clean)
}

func total(p *Pool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// The server ends an idle connection: it is gone before anybody asks for it.
func TestIdleBackendThatEndsIsDropped(t *testing.T) {
	pools, key := open(t, Config{Size: 1})
	p := pools.Get(key)
	b := acquire(t, p)
	pools.Release(b, Clean)
	pgtest.SharedPrimary(t).Exec(t, "SELECT pg_terminate_backend($1)", b.PID)
	if !pgtest.Eventually(func() bool { return total(p) == 0 }) {
		t.Fatal("the pool keeps a dead connection")
	}
	if b.Attach(&user{}) {
		t.Error("a dead backend can be attached")
	}
	if again := acquire(t, p); again == b {
		t.Error("a dead backend is handed out")
	} else {
		pools.Release(again, Clean)
	}
}

func TestMostRecentlyUsedIsTakenFirst(t *testing.T) {
	pools, key := open(t, Config{Size: 3})
	p := pools.Get(key)
	a, b := acquire(t, p), acquire(t, p)
	pools.Release(a, Clean)
	pools.Release(b, Clean)
	if got := p.TryAcquire(nil); got != b {
		t.Error("the one that was idle for longer came first")
	}
	if got := p.TryAcquire(nil); got != a {
		t.Error("the other one did not follow")
	}
	pools.Release(a, Clean)
	pools.Release(b, Clean)
}

// A backend that ends while the only one who waits is being served by a login
// under way is no reason for another login.
func TestOneLoginForOneWaiter(t *testing.T) {
	pools, key := open(t, Config{Size: 5})
	target := pools.targets["primary"]
	inner, entered, gate := target.Login, make(chan struct{}, 5), make(chan struct{}, 5)
	target.Login = func(user, database string) (*pgconn.Config, error) {
		entered <- struct{}{}
		<-gate
		return inner(user, database)
	}
	p := pools.Get(key)
	gate <- struct{}{}
	first := acquire(t, p)
	<-entered
	served := make(chan *Backend)
	go func() {
		b, err := p.Acquire(context.Background())
		if err != nil {
			t.Error(err)
		}
		served <- b
	}()
	<-entered
	pools.Release(first, Broken)
	if !pgtest.Eventually(func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.total == p.dialing
	}) {
		t.Fatal("the closed backend is still counted")
	}
	close(gate)
	if b := <-served; b != nil {
		pools.Release(b, Clean)
	}
	pools.Close() // after this no login is under way
	if n := len(entered); n != 0 {
		t.Errorf("%d logins for nobody", n)
	}
}
