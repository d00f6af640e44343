package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/pgtest"
	"pgshunt/internal/scram"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestSecretsOfEveryKind(t *testing.T) {
	known := clear("me", "secret", []byte("salt of sixteen."))
	parsed := func(text string) *Secret {
		s, err := ParseSecret(text)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	verifier := parsed(known.scram.Text())
	md5 := parsed("md5" + strings.ToUpper(known.md5))
	salt := [4]byte{1, 2, 3, 4}
	answer := func(password string) string { return "md5" + hash(hash(password, "me"), string(salt[:])) }
	for name, c := range map[string]struct {
		secret             *Secret
		password, md5, key bool
	}{
		"clear": {known, true, true, true}, "verifier": {verifier, true, false, true}, "md5": {md5, true, true, false}, "nobody": {nil, false, false, false},
	} {
		f := Found{secret: c.secret, known: c.secret != nil, mock: scram.Mock([32]byte{1}, 4096)}
		if key, ok := f.Password("me", "secret"); ok != c.password || (key != nil) != c.key {
			t.Errorf("%s: password %v, key %v", name, ok, key != nil)
		}
		if _, ok := f.Password("me", "other"); ok {
			t.Errorf("%s: another password", name)
		}
		if f.Response(answer("secret"), salt) != c.md5 || f.Response(answer("other"), salt) || f.Response("md5"+hash(hash("nobody", ""), string(salt[:])), salt) || f.Response("", salt) {
			t.Errorf("%s: md5", name)
		}
		if _, doomed := f.Verifier(); doomed != !c.key {
			t.Errorf("%s: doomed %v", name, doomed)
		}
		if text := fmt.Sprintf("%v %+v %#v", c.secret, c.secret, c.secret); c.secret != nil && strings.Trim(text, "* ") != "" {
			t.Errorf("%s prints %s", name, text)
		}
	}
	for _, bad := range []string{"", "secret", "md5", "md5" + strings.Repeat("x", 32), "md5" + known.md5 + "0", "SCRAM-SHA-256$1:2$3:4"} {
		if _, err := ParseSecret(bad); !errors.Is(err, ErrSecret) || bad != "" && bad != "md5" && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Salts that are made up belong to the name and to the seed, and look like those
// that are not.
func TestMadeUpSalts(t *testing.T) {
	verifier, _ := ParseSecret(scram.New("x", []byte("salt of sixteen."), 8192).Text())
	users := []User{{Name: "first", Secret: verifier}, {Name: "me", Password: "secret"}}
	a, b, c := NewStore(users, nil, []byte("seed")), NewStore(users, nil, []byte("seed")), NewStore(users, nil, []byte("other"))
	of := func(s *Store, user string) *scram.Verifier {
		f, err := s.Lookup(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := f.Verifier()
		return v
	}
	if !of(a, "nobody").Equal(of(b, "nobody")) || !of(a, "me").Equal(of(b, "me")) {
		t.Error("not stable over restarts")
	}
	if of(a, "nobody").Equal(of(c, "nobody")) || of(a, "nobody").Equal(of(a, "no one")) {
		t.Error("anybody could calculate them")
	}
	if of(a, "nobody").Iterations() != 8192 {
		t.Error("iterations tell who does not exist")
	}
	if random := NewStore(users, nil, nil); !of(random, "nobody").Equal(of(random, "nobody")) || of(random, "nobody").Equal(of(NewStore(users, nil, nil), "nobody")) {
		t.Error("the random seed")
	}
}

// clock is a clock that moves when told.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// asking returns a Store that asks a server, and a count of the questions.
func asking(t *testing.T, server *pgtest.Server, sql string) (*Store, *clock, func() int, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	c := &clock{now: time.Now()}
	q := NewQuery(QueryConfig{SQL: sql, Now: c.Now, Log: slog.New(slog.NewTextHandler(log, nil)), Login: func() (*pgconn.Config, error) {
		return pgconn.ParseConfig(server.SocketURL("postgres", "postgres"))
	}})
	t.Cleanup(q.Close)
	mark := server.Mark(t)
	count := func() int {
		n := 0
		for _, s := range server.Statements(t, mark) {
			if strings.Contains(s.Text, "counted") {
				n++
			}
		}
		return n
	}
	return NewStore(nil, q, []byte("seed")), c, count, log
}

const shadow = "SELECT usename, passwd, valuntil FROM pg_shadow WHERE usename = $1 /* counted */"

func TestQueryRemembersForAWhile(t *testing.T) {
	server := pgtest.SharedPrimary(t)
	server.Exec(t, "CREATE ROLE asked LOGIN PASSWORD 'x'; CREATE ROLE late LOGIN PASSWORD 'x' VALID UNTIL '2100-01-01 00:00+02'; CREATE ROLE never LOGIN PASSWORD 'x' VALID UNTIL '-infinity'")
	t.Cleanup(func() { server.Exec(t, "DROP ROLE asked, late, never") })
	pgtest.NoLeaks(t)
	store, c, count, _ := asking(t, server, shadow)
	known := func(user string) bool {
		f, err := store.Lookup(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		return f.Known()
	}
	for range 3 {
		if !known("asked") || known("nobody") || known("never") || known("a\xffb") || !known("late") {
			t.Fatal("wrong answer")
		}
	}
	if n := count(); n != 4 { // the name that is no text never becomes a statement
		t.Errorf("%d questions about four users", n)
	}
	c.move(queryAge)
	if !known("asked") || known("nobody") || count() != 6 {
		t.Errorf("%d questions after the answers are too old", count())
	}
	c.move(100 * 365 * 24 * time.Hour)
	if known("late") {
		t.Error("an expired password is good")
	}
	store.Forget("asked")
	if !known("asked") || count() != 8 {
		t.Errorf("%d questions after one was forgotten", count())
	}
}

// After a failure the answer is asked for anew, once, for those who exist and
// those who do not; and not if it was new.
func TestRefreshAsksOnce(t *testing.T) {
	server := pgtest.SharedPrimary(t)
	server.Exec(t, "CREATE ROLE changing LOGIN PASSWORD 'x'")
	t.Cleanup(func() { server.Exec(t, "DROP ROLE changing") })
	store, _, count, _ := asking(t, server, shadow)
	for _, user := range []string{"changing", "nobody"} {
		before := count()
		f, err := store.Lookup(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		if _, changed, err := store.Refresh(t.Context(), user, f); changed || err != nil || count() != before+1 {
			t.Errorf("%s, new: %v, %v, %d questions", user, changed, err, count()-before)
		}
		f, _ = store.Lookup(t.Context(), user)
		if _, changed, err := store.Refresh(t.Context(), user, f); changed || err != nil || count() != before+2 {
			t.Errorf("%s, the same: %v, %v, %d questions", user, changed, err, count()-before)
		}
	}
	f, _ := store.Lookup(t.Context(), "changing")
	server.Exec(t, "ALTER ROLE changing PASSWORD 'y'")
	again, changed, err := store.Refresh(t.Context(), "changing", f)
	if err != nil || !changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	if _, ok := again.Password("changing", "y"); !ok {
		t.Error("the new password is not taken")
	}
}

// Many who ask for one user at once share a question.
func TestQueryIsSharedByThoseWhoWait(t *testing.T) {
	server := pgtest.SharedPrimary(t)
	store, _, count, _ := asking(t, server, "SELECT usename, passwd, NULL, pg_sleep(0.2) /* counted */ FROM pg_shadow WHERE usename = $1")
	var work sync.WaitGroup
	for range 20 {
		work.Go(func() {
			if _, err := store.Lookup(t.Context(), "postgres"); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	if n := count(); n > 2 { // one, unless somebody came when it was over
		t.Errorf("%d questions", n)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("gone"))
	if _, err := store.Lookup(ctx, "someone else"); err == nil || err.Error() != "gone" {
		t.Errorf("a client that has gone: %v", err)
	}
}

// What goes wrong with the question is nobody's wrong password.
func TestQueryThatFails(t *testing.T) {
	server := pgtest.SharedPrimary(t)
	server.Exec(t, "CREATE ROLE one LOGIN PASSWORD 'secret-one'")
	t.Cleanup(func() { server.Exec(t, "DROP ROLE one") })
	for sql, want := range map[string]string{
		"SELECT usename, passwd FROM no_such_table WHERE usename = $1":                    "no_such_table",
		"SELECT usename FROM pg_shadow WHERE usename = $1":                                "one column",
		"SELECT usename, passwd FROM pg_shadow, generate_series(1, 2) WHERE usename = $1": "2 rows",
		"SELECT usename, passwd, 'soon' FROM pg_shadow WHERE usename = $1":                "not a timestamp",
	} {
		store, _, _, _ := asking(t, server, sql)
		_, err := store.Lookup(t.Context(), "one")
		if e := pgerr.From(err); err == nil || e.Code != pgerr.CannotConnect || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SCRAM-SHA") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for sql, logged := range map[string]string{
		"SELECT 'other', passwd FROM pg_shadow WHERE usename = $1":   "another user",
		"SELECT usename, 'secret' FROM pg_shadow WHERE usename = $1": "no verifier",
	} {
		store, _, _, log := asking(t, server, sql)
		if f, err := store.Lookup(t.Context(), "one"); err != nil || f.Known() || !strings.Contains(log.String(), logged) || strings.Contains(log.String(), "secret") {
			t.Errorf("%s: known %v, %v, %s", sql, f.Known(), err, log)
		}
	}
}

// A connection that died while nobody asked is replaced without a word; a server
// that is down is said to be.
func TestQuerySurvivesItsServer(t *testing.T) {
	server := pgtest.Primary(t)
	store, c, _, _ := asking(t, server, shadow)
	look := func() error {
		c.move(queryAge)
		_, err := store.Lookup(t.Context(), "postgres")
		return err
	}
	if err := look(); err != nil {
		t.Fatal(err)
	}
	server.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgshunt auth.query'")
	if err := look(); err != nil {
		t.Errorf("after its connection was ended: %v", err)
	}
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	if e := pgerr.From(look()); e.Code != pgerr.CannotConnect {
		t.Errorf("with the server down: %v", e)
	}
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := look(); err != nil {
		t.Errorf("after the server has come back: %v", err)
	}
}

func TestUntil(t *testing.T) {
	for text, want := range map[string]string{
		"infinity": "0001-01-01T00:00:00Z", "-infinity": "1970-01-01T00:00:00Z", "2026-01-02 03:04:05+00": "2026-01-02T03:04:05Z",
		"2026-01-02 03:04:05.678+00": "2026-01-02T03:04:05.678Z", "2026-01-02 03:04:05": "2026-01-02T03:04:05Z",
	} {
		if got, err := until(text); err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %s, %v", text, got.UTC(), err)
		}
	}
	if _, err := until("tomorrow"); err == nil {
		t.Error("tomorrow is a time")
	}
}
