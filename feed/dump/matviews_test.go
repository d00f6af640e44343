package dump

import (
	"context"
	"fmt"
	"testing"

	"pgshunt/configs"
)

// Materialised views that read each other, and a table beside, in schemas of their own.
const layered = `CREATE SCHEMA other;
	CREATE MATERIALIZED VIEW mine_a AS SELECT id, n FROM a; CREATE UNIQUE INDEX mine_a_id ON mine_a (id);
	CREATE MATERIALIZED VIEW other.mine_a AS SELECT sum(n) AS n FROM public.mine_a;
	CREATE MATERIALIZED VIEW everything AS SELECT (SELECT n FROM other.mine_a) AS total, (SELECT count(*) FROM a) AS rows, (SELECT max(n) FROM mine_a) AS most;
	CREATE VIEW on_top AS SELECT e.total, m.n FROM everything e, other.mine_a m; CREATE INDEX everything_rows ON everything (rows)`

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
