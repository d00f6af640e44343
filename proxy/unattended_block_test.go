package proxy_test

import (
	"strconv"
	"testing"

	"pgshunt/pool"
)

// What the client had in the block in which a training went on without it is nobody else's
// afterwards: cursors that outlast the block, and settings that do not.
func TestUnattendedTrainingLeavesNothingOfItsBlock(t *testing.T) {
	w := newTrainer(t, true, setup{pool: pool.Config{Size: 1}})
	ended := 0
	for project, before := range map[string][]string{
		"cursor":   {"BEGIN", "DECLARE other CURSOR FOR SELECT pgml.version()", "DECLARE mine CURSOR WITH HOLD FOR SELECT pgml.version()"},
		"settings": {"BEGIN", "SET LOCAL search_path = nowhere", "DECLARE other CURSOR FOR SELECT pgml.version()", "SELECT pgml.version() IS NULL"},
	} {
		c := enter(t, w.addr, w.db)
		for _, sql := range before {
			c.query(sql)
		}
		train(c, project)
		w.fitting(1)
		_ = c.Close()
		w.logged(`(?s)(msg="training goes on without its client" .*){` + strconv.Itoa(ended+1) + `}`)
		w.free()
		ended++
		w.logged(`(?s)(msg="training ended without its client" .*sqlstate=00000.*){` + strconv.Itoa(ended) + `}`)
		next := enter(t, w.addr, w.db)
		if got := joined(next.query("DECLARE mine CURSOR WITH HOLD FOR SELECT pgml.version()")); got != "DECLARE CURSOR; ready I" {
			t.Errorf("%s: the next client gets %q", project, got)
		}
		if got := joined(next.query("SELECT pgml.version() IS NULL")); got != "RowDescription; row f; SELECT 1; ready I" {
			t.Errorf("%s: the next client gets %q", project, got)
		}
		_ = next.Close()
		w.hold()
	}
	w.free()
	if n := w.trained(); n != 2 {
		t.Errorf("%d models, not 2", n)
	}
}
