package feed

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/internal/pgtest"
)

func TestNames(t *testing.T) {
	for _, c := range []struct{ database, replica, want string }{
		{"production", "ml1", "pgshunt_production_ml1"},
		{"Shop", "ml-1", ""},
		{"shop", "ml_1", "pgshunt_shop_ml_1"},
		{"web_shop", "ml_1", "pgshunt_web__shop_ml_1"},
		{strings.Repeat("d", 63), strings.Repeat("r", 63), ""},
	} {
		got := Name(c.database, c.replica)
		if c.want != "" && got != c.want {
			t.Errorf("Name(%q, %q) is %q, want %q", c.database, c.replica, got, c.want)
		}
		if len(got) > maxName || strings.Trim(got, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			t.Errorf("%q is no name for a slot", got)
		}
	}
	// All pairs of names that differ in where underscores are, and of long ones.
	whose := make(map[string]string)
	names := []string{strings.Repeat("n", 60), strings.Repeat("n", 61), strings.Repeat("_", 63), "a-b", "a.b", "A_B", "ü", "__" + strings.Repeat("n", 60)}
	for n := 1; n <= 5; n++ {
		for bits := range 1 << n {
			name := []byte(strings.Repeat("a", n))
			for i := range name {
				if bits&(1<<i) != 0 {
					name[i] = '_'
				}
			}
			names = append(names, string(name))
		}
	}
	for _, database := range names {
		for _, replica := range names {
			name, pair := Name(database, replica), database+" and "+replica
			if other, taken := whose[name]; taken {
				t.Fatalf("%s is the name for %s and for %s", name, pair, other)
			}
			if len(name) > maxName {
				t.Errorf("%q is too long", name)
			}
			whose[name] = pair
		}
	}
}

func TestSecretsAreMasked(t *testing.T) {
	for _, secret := range []string{`a'b\c`, `a'b\`} {
		for _, text := range []string{secret, "x " + Literal(secret) + " y"} {
			if got := Mask(text, secret, ""); strings.Contains(got, "a'") || strings.Contains(got, `\`) || !strings.Contains(got, "***") {
				t.Errorf("%q became %q", text, got)
			}
		}
	}
}

func TestTablesOfAServer(t *testing.T) {
	s := pgtest.Primary(t)
	s.Exec(t, `CREATE SCHEMA "Sales"; CREATE TYPE "Sales".mood AS ENUM ('glad', 'sad');
		CREATE TABLE "Sales"."Order" (b int, a bigint GENERATED ALWAYS AS IDENTITY, m "Sales".mood DEFAULT 'sad', t text COLLATE "C" NOT NULL,
			g int GENERATED ALWAYS AS (b + 1) STORED, PRIMARY KEY (a, b));
		ALTER TABLE "Sales"."Order" ADD gone int; ALTER TABLE "Sales"."Order" DROP gone; ALTER TABLE "Sales"."Order" ADD late int[] DEFAULT '{1,2}';
		CREATE TABLE public.part (id int, at date) PARTITION BY RANGE (at);
		CREATE TABLE public.part_1 PARTITION OF public.part FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
		CREATE TABLE public.keyless (x int); ALTER TABLE public.keyless REPLICA IDENTITY FULL; CREATE TABLE public.other ()`)
	conn := s.Super(t, "postgres")
	run := open(t, s)
	tables, err := Tables(context.Background(), conn, run.Selection.Has)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, one := range tables {
		names = append(names, one.Plain())
	}
	if diff := cmp.Diff([]string{"Sales.Order", "public.keyless", "public.part", "public.part_1"}, names); diff != "" {
		t.Fatal(diff)
	}
	order, part := tables[0], tables[3]
	mood := &Type{Schema: "Sales", Name: "mood", Kind: 'e', Labels: []string{"glad", "sad"}, Checks: []Check{}, Attributes: []Attribute{}}
	late := "{1,2}"
	want := []Column{
		{Name: "b", Type: "integer", NotNull: true, Number: 1},
		{Name: "a", Type: "bigint", NotNull: true, Identity: 'a', Number: 2},
		{Name: "m", Type: `"Sales".mood`, Default: `'sad'::"Sales".mood`, Number: 3, Types: []*Type{mood}},
		{Name: "t", Type: "text", Collation: `pg_catalog."C"`, NotNull: true, Number: 4},
		{Name: "g", Type: "integer", Default: "(b + 1)", Generated: 's', Number: 5},
		{Name: "late", Type: "integer[]", Default: "'{1,2}'::integer[]", Number: 7, Missing: &late},
	}
	if diff := cmp.Diff(want, order.Columns); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, order.IdentityColumns); diff != "" {
		t.Error(diff)
	}
	if keyless := tables[1]; keyless.PrimaryKey != nil || keyless.IdentityColumns != nil {
		t.Errorf("a key of no columns: %+v", keyless)
	}
	if order.Dropped != 1 || part.Dropped != 0 {
		t.Errorf("%d and %d columns are dropped", order.Dropped, part.Dropped)
	}
	if tables[1].Identity != 'f' || tables[2].PartitionKey != "RANGE (at)" || part.ParentName != "part" || !strings.HasPrefix(part.Bound, "FOR VALUES") {
		t.Errorf("%+v", tables)
	}
}

func open(t *testing.T, s *pgtest.Server) *Run {
	t.Helper()
	cfg := configs.Default()
	cfg.Primary.URL = configs.URL(s.URL(s.Superuser(), "postgres"))
	cfg.Replicas = []configs.Replica{{Name: "ml1", Server: cfg.Primary, Feed: configs.FeedDump, Tables: configs.Patterns{"*.*", "!other"}}}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	run, err := Open(cfg, "ml1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func TestTheJournalAndItsLock(t *testing.T) {
	s := pgtest.Replica(t)
	run := open(t, s)
	ctx := context.Background()
	conn, err := run.Target.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if way, err := run.Way(ctx, conn); err != nil || way != "" {
		t.Errorf("without a journal: %q, %v", way, err)
	}
	for range 2 {
		if err := run.Journal(ctx, conn); err != nil {
			t.Fatal(err)
		}
		if err := run.Applied(ctx, conn); err != nil {
			t.Fatal(err)
		}
	}
	if way, err := run.Way(ctx, conn); err != nil || way != configs.FeedDump {
		t.Errorf("the journal has %q, %v", way, err)
	}
	for range 2 {
		if err := run.Forgotten(ctx, conn); err != nil {
			t.Fatal(err)
		}
	}
	if way, err := run.Way(ctx, conn); err != nil || way != "" {
		t.Errorf("the journal still has %q, %v", way, err)
	}
	if err := run.Lock(ctx, conn); err != nil {
		t.Fatal(err)
	}
	other := pgtest.Connect(t, s.URL(s.Superuser(), "postgres"))
	var free bool
	if err := other.QueryRow(ctx, "SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'").Scan(&free); err != nil || free {
		t.Errorf("the replica is not locked: %v", err)
	}
}

func TestWhatBlocksIsSaidWithItsRemedy(t *testing.T) {
	run := &Run{Replica: &configs.Replica{Name: "ml1"}}
	note := Problem{Server: "ml1", What: "it has one worker"}
	if err := run.Block([]Problem{note}); err != nil {
		t.Errorf("a note blocks: %v", err)
	}
	err := run.Block([]Problem{note, {Server: "primary", Blocks: true, What: "wal_level is replica", Remedy: "ALTER SYSTEM SET wal_level = 'logical';", Note: "then restart it"}})
	const want = "the feed of ml1 is blocked: primary: wal_level is replica; ALTER SYSTEM SET wal_level = 'logical'; then restart it"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}
