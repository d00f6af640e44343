package dump

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgshunt/configs"
	"pgshunt/feed"
)

// Materialised views that read each other, and a table beside, in schemas of their own.
const layered = `CREATE SCHEMA other;
	CREATE MATERIALIZED VIEW mine_a AS SELECT id, n FROM a; CREATE UNIQUE INDEX mine_a_id ON mine_a (id);
	CREATE MATERIALIZED VIEW other.mine_a AS SELECT sum(n) AS n FROM public.mine_a;
	CREATE MATERIALIZED VIEW everything AS SELECT (SELECT n FROM other.mine_a) AS total, (SELECT count(*) FROM a) AS rows, (SELECT max(n) FROM mine_a) AS most;
	CREATE VIEW on_top AS SELECT e.total, m.n FROM everything e, other.mine_a m; CREATE INDEX everything_rows ON everything (rows)`

// Materialised views that read fed tables through plain views, over materialised ones too, by
// names that sort against the order in which they have to be filled.
const through = `CREATE VIEW v_a AS SELECT id, n FROM a; CREATE VIEW v_b AS SELECT * FROM v_a WHERE n > 1;
	CREATE MATERIALIZED VIEW z_first AS SELECT sum(n) AS n FROM v_b; CREATE VIEW v_first AS SELECT n FROM z_first; CREATE VIEW v_second AS SELECT n AS total FROM v_first;
	CREATE MATERIALIZED VIEW m_second AS SELECT s.total, a.most, (SELECT n FROM z_first) AS direct FROM v_second s, (SELECT max(n) AS most FROM v_a) a;
	CREATE VIEW v_third AS SELECT total, most, direct, (SELECT n FROM z_first) AS again FROM m_second;
	CREATE MATERIALIZED VIEW a_third AS SELECT *, (SELECT total FROM v_second) AS below FROM v_third; GRANT SELECT ON a_third TO PUBLIC`

func TestMaterialisedViewsOverPlainOnesFollow(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"public.a"} })
	exec(t, b.primary, "CREATE TABLE a (id int PRIMARY KEY, n int); INSERT INTO a SELECT i, i FROM generate_series(1, 3) i")
	b.refresh(t)
	exec(t, b.replica, through)
	const all = "SELECT (SELECT z::text FROM z_first z) || (SELECT m::text FROM m_second m) || (SELECT v::text FROM v_third v) || (SELECT t::text FROM a_third t)"
	if got, want := value(t, b.replica, all), "(5)(5,3,5)(5,3,5,5)(5,3,5,5,5)"; got != want {
		t.Fatalf("made with %s, want %s", got, want)
	}
	for i, want := range []string{"(15)(15,10,15)(15,10,15,15)(15,10,15,15,15)", "(35)(35,20,35)(35,20,35,35)(35,20,35,35,35)"} {
		exec(t, b.primary, fmt.Sprintf("INSERT INTO a SELECT max(id) + 1, %d FROM a", 10*(i+1)))
		b.refresh(t)
		b.equal(t)
		if got := value(t, b.replica, all); got != want {
			t.Errorf("the views have %s, want %s", got, want)
		}
	}
	if got := value(t, b.replica, "SELECT relacl::text ~ '(,|{)=r' FROM pg_class WHERE relname = 'a_third'"); got != "true" {
		t.Error("who might read a_third may not any more")
	}
}

// Nobody can read such views, but a server takes them.
func TestViewsThatReadEachOtherHoldNoSwapUp(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"public.a"} })
	exec(t, b.primary, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
	b.refresh(t)
	exec(t, b.replica, `CREATE VIEW one AS SELECT id FROM a; CREATE VIEW two AS SELECT id FROM one; CREATE OR REPLACE VIEW one AS SELECT id FROM a UNION ALL SELECT id FROM two;
		CREATE VIEW beside AS SELECT id FROM a; CREATE MATERIALIZED VIEW m AS SELECT id FROM beside`)
	exec(t, b.primary, "INSERT INTO a VALUES (2)")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := Refresh(ctx, b.Run); err != nil {
		t.Fatal(err)
	}
	b.equal(t)
	if got := value(t, b.replica, "SELECT count(*) FROM m"); got != "2" {
		t.Errorf("the materialised view has %s rows", got)
	}
}

// Each step that finishes a swap can be the last of a run that is killed.
func TestWhatASwapLeftIsFinishedFromAnyPoint(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"public.a"} })
	exec(t, b.primary, "CREATE TABLE a (id int PRIMARY KEY, n int); INSERT INTO a SELECT i, i FROM generate_series(1, 3) i")
	b.refresh(t)
	exec(t, b.replica, through)
	steps := []string{"fill materialised view public.z_first", "put materialised views in their places", "fill materialised view public.m_second", "fill materialised view public.a_third", "drop the old tables"}
	for i, step := range steps {
		exec(t, b.primary, "UPDATE a SET n = n + 1 WHERE id = 3")
		ctx, cancel := context.WithCancel(context.Background())
		b.hear = func(e feed.Event) {
			if e.Step == step && e.Status == feed.StatusStart {
				cancel()
			}
		}
		if err := Refresh(ctx, b.Run); err == nil {
			t.Errorf("%s was no step", step)
		}
		b.hear = nil
		if err := Apply(context.Background(), b.Run); err != nil {
			t.Fatal(err)
		}
		b.equal(t)
		n := i + 4
		if got, want := value(t, b.replica, "SELECT t::text FROM a_third t"), fmt.Sprintf("(%d,%d,%[1]d,%[1]d,%[1]d)", n+2, n); got != want {
			t.Errorf("stopped before %q and finished, the last view has %s, want %s", step, got, want)
		}
	}
}

func TestMaterialisedViewsOverOthersFollow(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"public.a"} })
	exec(t, b.primary, "CREATE TABLE a (id int PRIMARY KEY, n int); INSERT INTO a SELECT i, i FROM generate_series(1, 3) i")
	b.refresh(t)
	exec(t, b.replica, layered)
	for i, want := range []string{"(16,4,10) (16,16)", "(36,5,20) (36,36)"} {
		exec(t, b.primary, fmt.Sprintf("INSERT INTO a SELECT max(id) + 1, %d FROM a", 10*(i+1)))
		b.refresh(t)
		b.equal(t)
		if got := value(t, b.replica, "SELECT (SELECT e::text FROM everything e) || ' ' || (SELECT o::text FROM on_top o)"); got != want {
			t.Errorf("the views have %s, want %s", got, want)
		}
		if got := value(t, b.replica, "SELECT count(*) FROM pg_indexes WHERE indexname IN ('mine_a_id', 'everything_rows') AND schemaname = 'public'"); got != "2" {
			t.Errorf("%s indexes", got)
		}
	}
	// Nothing is left to be finished.
	b.events = nil
	if err := Apply(context.Background(), b.Run); err != nil {
		t.Fatal(err)
	}
	if len(b.events) != 1 {
		t.Errorf("%+v", b.events)
	}
}
