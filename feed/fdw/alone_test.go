package fdw

import (
	"testing"
)

// While the primary is away its copies can be read, and are as old as they are; the foreign tables
// beside them cannot.
func TestCopiesServeWhileThePrimaryIsAway(t *testing.T) {
	b := newBed(t, nil)
	b.onPrimary(t, "CREATE TABLE cold (id int); CREATE TABLE hot (id int); INSERT INTO hot VALUES (1); GRANT SELECT ON cold, hot TO reader")
	b.cfg.Replicas[0].FDW.Materialize = []string{"public.hot"}
	b.apply(t)
	if err := b.primary.Stop(); err != nil {
		t.Fatal(err)
	}
	state, err := State(t.Context(), b.run(t))
	if err != nil || state.State != "broken" || state.LagSeconds != -1 || len(state.Tables) != 2 || state.Reached(b.run(t).Primary) {
		t.Fatalf("%+v, %v", state, err)
	}
	cold, hot := state.Tables[0], state.Tables[1]
	if cold.State != "broken" || cold.Age != -1 || hot.State != "ready" || !hot.Copy || hot.Age <= 0 || hot.Rows != 1 {
		t.Errorf("%+v", state.Tables)
	}

	b.onReplica(t, "DROP FOREIGN TABLE cold")
	if state, err = State(t.Context(), b.run(t)); err != nil || state.State != "ready" || state.LagSeconds <= 0 || len(state.Tables) != 1 {
		t.Errorf("copies alone: %+v, %v", state, err)
	}
	b.onReplica(t, "DROP TABLE hot")
	if state, err = State(t.Context(), b.run(t)); err != nil || state.State != "broken" || state.Tables[0].State != "missing" {
		t.Errorf("%+v, %v", state, err)
	}
}
