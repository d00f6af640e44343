package logical

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
	"pgshunt/feed"
)

func TestTheLastErrorOfTheSubscriptionIsFound(t *testing.T) {
	const log = `2026-01-01 10:00:00.000 UTC [7] LOG:  logical replication apply worker for subscription "other" has started
2026-01-01 10:00:00.000 UTC [8] LOG:  logical replication apply worker for subscription "pgshunt_shop_ml1" has started
2026-01-01 10:00:01.000 UTC [9] ERROR:  syntax error at or near "x" at character 1
2026-01-01 10:00:01.000 UTC [9] STATEMENT:  x
2026-01-01 10:00:01.000 UTC [8] ERROR:  duplicate key value violates unique constraint "t_pkey"
2026-01-01 10:00:01.000 UTC [8] DETAIL:  Key (id)=(2) already exists.
2026-01-01 10:00:01.000 UTC [8] CONTEXT:  processing remote data for replication origin "pg_16395" during message type "INSERT"
	for replication target relation "public.t" in transaction 725 finished at 0/14C0378
2026-01-01 10:00:01.000 UTC [7] ERROR:  another thing
2026-01-01 10:00:01.000 UTC [1] LOG:  background worker "logical replication worker" (PID 8) exited with exit code 1
`
	want := entry{
		text: `duplicate key value violates unique constraint "t_pkey" (Key (id)=(2) already exists.) (processing remote data for replication origin "pg_16395" during message type "INSERT") for replication target relation "public.t" in transaction 725 finished at 0/14C0378`,
		lsn:  "0/14C0378",
	}
	// A worker that starts too early says nothing of the reason.
	const early = log + `2026-01-01 10:00:01.100 UTC [10] LOG:  logical replication apply worker for subscription "pgshunt_shop_ml1" has started
2026-01-01 10:00:01.100 UTC [10] ERROR:  replication origin with ID 1 is already active for PID 8
`
	for _, c := range []struct {
		log, end string
		want     entry
	}{
		{log, "", want},
		{log, "0/14C0378", want},
		{log, "0/1", want},
		{early, "0/14C0378", want},
		{early, "", entry{text: "replication origin with ID 1 is already active for PID 8"}},
		{early, "0/1", entry{text: "replication origin with ID 1 is already active for PID 8"}},
	} {
		if diff := cmp.Diff(c.want, findError(c.log, "pgshunt_shop_ml1", c.end), cmp.AllowUnexported(entry{})); diff != "" {
			t.Errorf("%q: %s", c.end, diff)
		}
	}
	if got := findError(log, "pgshunt_shop_ml2", ""); got.text != "" {
		t.Errorf("of another subscription: %+v", got)
	}
}

func TestTheReplicasConnectionString(t *testing.T) {
	cfg := configs.Default()
	cfg.Primary.URL = "postgres://app:x@a.example,b.example:5433/shop?sslmode=require"
	cfg.Replicas = []configs.Replica{{Name: "ml1", Server: configs.Server{URL: "postgres://app@ml/shop"}, Feed: configs.FeedLogical}}
	cfg.Replicas[0].Source.Password = `it's\`
	run, err := feed.Open(cfg, "ml1", feed.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := conninfo(run, v18)
	if err != nil {
		t.Fatal(err)
	}
	const want = `connect_timeout='15' dbname='shop' host='a.example,b.example' password='it\'s\\' port='5432,5433' sslmode='require' target_session_attrs='read-write' user='app'`
	if got != want {
		t.Errorf("%s", got)
	}
}

func TestMessagesThatAreCutAreAnError(t *testing.T) {
	begin := append([]byte{'B'}, make([]byte, 20)...)
	insert := []byte{'I', 0, 0, 0, 1, 'N', 0, 1, 't', 0, 0, 0, 9, 'x'}
	d := decoder{relations: map[uint32]*relation{1: {Schema: "public", Name: "t", Columns: []relationColumn{{Key: true, Name: "id"}}}}}
	if err := d.take(begin); err != nil {
		t.Fatal(err)
	}
	if err := d.take(insert); err == nil {
		t.Error("a row whose value is cut off was read")
	}
	for n := range begin {
		if err := (&decoder{}).take(begin[:n]); err == nil {
			t.Errorf("%d bytes of BEGIN were read", n)
		}
	}
}

func TestWhichTablesAConfigurationBrings(t *testing.T) {
	all := []*feed.Table{
		{Schema: "s", Name: "one", Kind: 'r'},
		{Schema: "s", Name: "p", Kind: 'p'},
		{Schema: "s", Name: "p_1", Kind: 'r', ParentSchema: "s", ParentName: "p"},
		{Schema: "s", Name: "p_2", Kind: 'p', ParentSchema: "s", ParentName: "p"},
		{Schema: "s", Name: "p_2_a", Kind: 'r', ParentSchema: "s", ParentName: "p_2"},
		{Schema: "pgml", Name: "models", Kind: 'r'},
	}
	for _, c := range []struct {
		patterns configs.Patterns
		want     []string
	}{
		{nil, []string{"s.one", "s.p", "s.p_1", "s.p_2", "s.p_2_a"}},
		{configs.Patterns{"p"}, []string{"s.p", "s.p_1", "s.p_2", "s.p_2_a"}},
		{configs.Patterns{"p", "!p_1"}, []string{"s.p", "s.p_2", "s.p_2_a"}},
		{configs.Patterns{"p_2_a"}, []string{"s.p", "s.p_2", "s.p_2_a"}},
		{configs.Patterns{"none"}, nil},
	} {
		replica := &configs.Replica{Tables: c.patterns, Where: map[string]string{"s.p": "x > 0", "s.p_2": "x > 1"}}
		var names []string
		for _, one := range choose(feed.NewSelection(replica), all) {
			names = append(names, one.Plain())
			if want := map[string]string{"p": "x > 0", "p_1": "x > 0", "p_2": "x > 1", "p_2_a": "x > 1"}[one.Name]; one.where != want {
				t.Errorf("%s has the condition %q", one.Name, one.where)
			}
		}
		if diff := cmp.Diff(c.want, names); diff != "" {
			t.Errorf("%q: %s", c.patterns, diff)
		}
	}
}
