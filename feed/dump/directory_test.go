package dump

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
)

// byHash has partitions that rows fall into by the OIDs of an enum, which differ from server to server.
const byHash = `CREATE TABLE shop.hashed (m shop.mood, n int) PARTITION BY HASH (m);
	CREATE TABLE shop.hashed_0 PARTITION OF shop.hashed FOR VALUES WITH (MODULUS 3, REMAINDER 0);
	CREATE TABLE shop.hashed_1 PARTITION OF shop.hashed FOR VALUES WITH (MODULUS 3, REMAINDER 1);
	CREATE TABLE shop.hashed_2 PARTITION OF shop.hashed FOR VALUES WITH (MODULUS 3, REMAINDER 2);
	INSERT INTO shop.hashed SELECT unnest(enum_range(NULL::shop.mood)), i FROM generate_series(1, 10) i`

// withoutHashed is contents without those partitions, which may be divided otherwise.
func withoutHashed(lines []string) (rest []string) {
	for _, line := range lines {
		if !strings.HasPrefix(line, "shop.hashed_") {
			rest = append(rest, line)
		}
	}
	return rest
}

// Neither end needs the other: the copy is made while the replica is not there, and loaded
// while the primary is not.
func TestADirectoryCarriesACopyBetweenServersThatNeverMeet(t *testing.T) {
	primary := pgtest.Primary(t)
	b := bedOn(t, primary, pgtest.SharedReplica(t), nil)
	ctx := context.Background()
	exec(t, b.primary, b.awkward()+byHash)
	exec(t, b.primary, `SELECT nextval(pg_get_serial_sequence('shop.orders', 'id')) FROM generate_series(1, 50);
		CREATE STATISTICS shop.st ON day, country FROM shop.visits_2025;
		CREATE TABLE shop."odd
name" ("a FROM stdin;
" int, "b\." text); INSERT INTO shop."odd
name" VALUES (1, '\.'), (2, E'\\.\n\\.\n'), (3, NULL), (4, repeat('x', 1000000) || E'\n\\.')`)
	want := contents(t, b.primary)
	rows := value(t, b.primary, "SELECT string_agg(h::text, ' ' ORDER BY h) FROM shop.hashed h")
	dir := filepath.Join(t.TempDir(), "copy")
	there, nowhere := b.Target, b.Target.Login()
	nowhere.Host, nowhere.Port = t.TempDir(), 1
	b.Target = feed.NewServer("ml1", nowhere)
	if err := Save(ctx, b.Run, dir, "test"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, contents(t, b.primary)); diff != "" {
		t.Errorf("the primary was changed: %s", diff)
	}
	b.Target = there
	primary.Kill()
	load := func(do func(context.Context, *feed.Run, string) error) {
		t.Helper()
		b.events = nil
		if err := do(ctx, b.Run, dir); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(withoutHashed(want), withoutHashed(contents(t, b.replica))); diff != "" {
			t.Error(diff)
		}
		if got := value(t, b.replica, "SELECT string_agg(h::text, ' ' ORDER BY h) FROM shop.hashed h"); got != rows {
			t.Errorf("hashed has %s, want %s", got, rows)
		}
		b.tidy(t)
	}
	load(ApplyFrom)
	load(ApplyFrom)
	for _, e := range b.events {
		if e.Status == feed.StatusDone {
			t.Errorf("done twice: %s", e.Step)
		}
	}
	exec(t, b.replica, "DELETE FROM shop.orders; CREATE VIEW shop.own AS SELECT count(*) AS n FROM shop.codes")
	load(RefreshFrom)
	for sql, want := range map[string]string{
		"SELECT n FROM shop.own": "11",
		"SELECT nextval(pg_get_serial_sequence('shop.orders', 'id'))":                                                             "151",
		"SELECT count(*) FROM pg_statistic_ext":                                                                                   "1",
		"SELECT count(DISTINCT copied_at) FROM pgshunt.copies":                                                                    "1",
		"SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes WHERE tablename = 'orders' AND schemaname = 'shop'": "orders_customer orders_number_key orders_pkey orders_vat",
	} {
		if got := value(t, b.replica, sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
}

const few = `CREATE TABLE a (id int PRIMARY KEY, t text); INSERT INTO a SELECT i, md5(i::text) FROM generate_series(1, 5000) i;
	CREATE TABLE b (id serial PRIMARY KEY, a int REFERENCES a); INSERT INTO b (a) SELECT i FROM generate_series(1, 500) i`

func TestADamagedDirectoryChangesNothing(t *testing.T) {
	b := newBed(t, nil)
	ctx := context.Background()
	exec(t, b.primary, few)
	b.refresh(t)
	exec(t, b.primary, "DELETE FROM b WHERE id < 100")
	old := contents(t, b.replica)
	whole := filepath.Join(t.TempDir(), "copy")
	if err := Save(ctx, b.Run, whole, "test"); err != nil {
		t.Fatal(err)
	}
	copiedAt := value(t, b.replica, "SELECT string_agg(copied_at::text, ' ') FROM pgshunt.copies")
	for name, damage := range map[string]func(dir string) error{
		"is missing":               func(dir string) error { return os.Remove(largest(t, dir)) },
		"bytes and had":            func(dir string) error { return os.Truncate(largest(t, dir), 1000) },
		"could not ":               func(dir string) error { return scribble(largest(t, dir)) },
		"damaged: pgshunt.json":    func(dir string) error { return scribble(filepath.Join(dir, manifestFile)) },
		"is not as it was written": func(dir string) error { return other(filepath.Join(dir, manifestFile)) },
		"has no pgshunt.json":      func(dir string) error { return os.Remove(filepath.Join(dir, manifestFile)) },
		"is not finished":          func(dir string) error { return os.WriteFile(filepath.Join(dir, markerFile), nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			err := RefreshFrom(ctx, b.Run, dir)
			if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v", err)
			}
			if diff := cmp.Diff(old, contents(t, b.replica)); diff != "" {
				t.Error(diff)
			}
			if now := value(t, b.replica, "SELECT string_agg(copied_at::text, ' ') FROM pgshunt.copies"); now != copiedAt {
				t.Errorf("copied at %s, before %s", now, copiedAt)
			}
			b.tidy(t)
		})
	}
}

// largest is the largest file of rows.
func largest(t *testing.T, dir string) (path string) {
	t.Helper()
	files, err := sizes(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range files {
		if strings.Contains(name, ".dat") && (path == "" || size > files[path]) && !strings.HasSuffix(name, "toc.dat") {
			path = name
		}
	}
	return filepath.Join(dir, path)
}

// scribble overwrites some bytes in the middle of a file.
func scribble(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	copy(text[len(text)/2:], strings.Repeat("\xff", 64))
	return os.WriteFile(path, text, 0o600)
}

// other changes a digit of a table's OID, which still can be read.
func other(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	at := bytes.Index(text, []byte(`"OID": `))
	if at < 0 {
		return fmt.Errorf("no OID in %s", text)
	}
	text[at+len(`"OID": `)+1] ^= 1
	return os.WriteFile(path, text, 0o600)
}

func TestADirectoryIsNotWrittenOverWhatIsThere(t *testing.T) {
	b := newBed(t, nil)
	ctx := context.Background()
	exec(t, b.primary, few)
	dir := t.TempDir()
	write := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(want string) {
		t.Helper()
		if err := Save(ctx, b.Run, dir, "test"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	write("letters")
	refused("is not empty")
	write(markerFile)
	refused("has letters beside")
	if err := os.Remove(filepath.Join(dir, "letters")); err != nil {
		t.Fatal(err)
	}
	write("types")
	if err := Save(ctx, b.Run, dir, "test"); err != nil { // what a killed run has left
		t.Fatal(err)
	}
	refused("holds a copy already")
}

func TestWhatADirectoryCannotHoldIsRefused(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Where = map[string]string{"public.a": "id < 10"} })
	exec(t, b.primary, few)
	dir := filepath.Join(t.TempDir(), "copy")
	err := Save(context.Background(), b.Run, dir, "test")
	if err == nil || !strings.Contains(err.Error(), "public.a is fed in part") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("something was written: %v", err)
	}
}

// A run that ends at any of its events leaves what the next one needs.
func TestADirectoryOutlivesKills(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, few)
	b.refresh(t)
	exec(t, b.primary, "DELETE FROM b WHERE id < 100")
	dir := filepath.Join(t.TempDir(), "copy")
	save := func(ctx context.Context) error { return Save(ctx, b.Run, dir, "test") }
	load := func(ctx context.Context) error { return RefreshFrom(ctx, b.Run, dir) }
	if err := b.endAt(0, save); err == nil {
		t.Fatal("it did not hear that its context ended")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("left over: %v", err)
	}
	if err := save(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.events = nil
	if err := load(context.Background()); err != nil {
		t.Fatal(err)
	}
	b.equal(t)
	events := len(b.events)
	for n := 0; n < events; n += 3 {
		t.Run(fmt.Sprintf("event %d of %d", n, events), func(t *testing.T) {
			exec(t, b.replica, "DELETE FROM b")
			_ = b.endAt(n, load)
			if got := value(t, b.replica, "SELECT count(*) FROM b"); got != "0" && got != "401" {
				t.Errorf("half a copy: %s rows", got)
			}
			if err := load(context.Background()); err != nil {
				t.Fatal(err)
			}
			b.equal(t)
		})
	}
}

// endAt runs do with a context that ends at its n-th event.
func (b *bed) endAt(n int, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	seen := 0
	b.mu.Lock()
	b.hear = func(feed.Event) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if seen == n {
			cancel()
		}
		seen++
	}
	b.mu.Unlock()
	err := do(ctx)
	b.mu.Lock()
	b.hear = nil
	b.mu.Unlock()
	return err
}
