package proxy_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
)

// A training outlives its client where the policy says so, to its end and no longer: the
// connection is in use until then and another's afterwards, without a trace.
func TestTrainingFinishesWithoutItsClient(t *testing.T) {
	w := newTrainer(t, true, setup{pool: pool.Config{Size: 20}})
	w.vanish()
	for project := range lostTrainings {
		w.logged(`level=INFO msg="training goes on without its client" .*user=postgres database=` + w.db + ` target=ml1 backend=[0-9]+ project=` + project + ` elapsed=`)
	}
	w.used("primary", 0)
	w.used("ml1", len(lostTrainings))
	w.fitting(len(lostTrainings))
	if n := strings.Count(w.log.String(), `msg="session ended"`); n != len(lostTrainings) {
		t.Errorf("%d sessions have ended", n)
	}
	w.free()
	next := enter(t, w.addr, w.db)
	for project := range lostTrainings {
		w.logged(`level=INFO msg="training ended without its client" .*user=postgres database=` + w.db + ` .*project=` + project + ` elapsed=\S+ sqlstate=00000`)
		if got := joined(next.query("SELECT pgml.predict('" + project + "', ARRAY[3::real]) > 5")); got != "RowDescription; row t; SELECT 1; ready I" {
			t.Errorf("of %s the next client finds %q", project, got)
		}
	}
	w.used("ml1", 0)
	if n := w.trained(); n != len(lostTrainings) {
		t.Errorf("%d models", n)
	}
	if got := joined(next.query("SELECT count(*) FROM t")); got != "RowDescription; row 0; SELECT 1; ready I" {
		t.Errorf("of the clients' transactions the next one finds %q", got)
	}
	_ = next.Close()
	if strings.Contains(w.log.String(), "linear") {
		t.Error("the log has a statement")
	}
}

// Otherwise it ends with its client.
func TestTrainingEndsWithItsClient(t *testing.T) {
	w := newTrainer(t, false, setup{pool: pool.Config{Size: 20}})
	w.vanish()
	w.fitting(0)
	w.logged(`level=INFO msg="training ended with its client" .*user=postgres database=` + w.db + ` target=ml1 backend=[0-9]+`)
	w.free()
	w.used("ml1", 0)
	w.used("primary", 0)
	if n := w.trained(); n != 0 {
		t.Errorf("%d models, not 0", n)
	}
}

// A fit takes no notice of a cancel request, and is terminated.
func TestFitEndsWithItsClient(t *testing.T) {
	w := newTrainer(t, false, setup{})
	w.free()
	c := enter(t, w.addr, w.db)
	c.send(&pgproto3.Query{String: strings.Replace(training("slow"), "'linear'", `'linear', hyperparams => '{"sleep_seconds": 600}'`, 1)})
	if !pgtest.Eventually(func() bool {
		return count(t, w.replica, "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep'", w.other) > 0
	}) {
		t.Fatal("the fit does not begin")
	}
	_ = c.Close()
	running(t, w.replica, w.other, "sleep_seconds", false)
}

// What a batch that has no Sync has done is not committed, whoever is there to see it.
func TestTrainingWithoutSyncEndsWithItsClient(t *testing.T) {
	w := newTrainer(t, true, setup{})
	c := enter(t, w.addr, w.db)
	c.send(append(batch(training("open"))[:3], &pgproto3.Flush{})...)
	w.fitting(1)
	_ = c.Close()
	w.fitting(0)
	w.free()
	w.used("ml1", 0)
	if n := w.trained(); n != 0 {
		t.Errorf("%d models, not 0", n)
	}
}

// A client that has ended its side and still reads gets the answer if it comes soon, as from
// any other statement; after that the training goes on without it.
func TestTrainingOfAHalfClosedClient(t *testing.T) {
	w := newTrainer(t, true, setup{})
	c := enter(t, w.addr, w.db)
	train(c, "soon")
	w.fitting(1)
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	w.free()
	if got := joined(c.answer()); !strings.HasSuffix(got, "SELECT 1; ready I") {
		t.Errorf("got %q", got)
	}
	w.hold()
	c = enter(t, w.addr, w.db)
	train(c, "late")
	w.fitting(1)
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	if got := joined(c.answer()); !strings.HasSuffix(got, "closed") {
		t.Errorf("got %q", got)
	}
	w.free()
	w.logged(`msg="training ended without its client" .*project=late .*sqlstate=00000`)
	if n := w.trained(); n != 2 {
		t.Errorf("%d models, not 2", n)
	}
}

// A training that has to wait for its server does not begin once its client has gone.
func TestTrainingOfALostClientDoesNotBegin(t *testing.T) {
	w := newTrainer(t, true, setup{pool: pool.Config{Size: 1}})
	w.free()
	mark := w.replica.Mark(t)
	for project, way := range lostTrainings {
		if strings.HasPrefix(project, "before") || project == "in-a-pipeline" {
			continue
		}
		holder := enter(t, w.addr, w.db)
		holder.query("DECLARE c CURSOR WITH HOLD FOR SELECT pgml.version()")
		w.used("ml1", 1)
		c, _ := lazyReader(t, w.addr, w.db, way.encrypted, w.tls)
		way.begin(c, project)
		w.used("ml1", 2)
		way.vanish(c)
		_ = holder.Close()
		w.used("ml1", 0)
		w.used("primary", 0)
		if w.replica.Saw(t, mark, "pgml.train") || w.trained() != 0 {
			t.Errorf("%s: the training has begun", project)
		}
	}
}

// How a training ends without its client, other than well, is told too.
func TestUnattendedTrainingFails(t *testing.T) {
	w := newTrainer(t, true, setup{})
	for _, project := range []string{"broken", "ended"} {
		c := enter(t, w.addr, w.db)
		sql := training(project)
		if project == "broken" {
			sql = strings.Replace(sql, "'linear'", `'linear', hyperparams => '{"fail": true}'`, 1)
		}
		c.send(&pgproto3.Query{String: sql})
		w.fitting(1)
		_ = c.Close()
		w.logged(`msg="training goes on without its client" .*project=` + project)
		state := "XX000"
		if project == "ended" {
			state = "57P01"
			terminate(t, w.replica, w.other)
		} else {
			w.free()
		}
		w.logged(`msg="training ended without its client" .*project=` + project + ` elapsed=\S+ sqlstate=` + state)
		w.used("ml1", 0)
		if project == "broken" {
			w.hold()
		}
	}
	w.free()
	c := enter(t, w.addr, w.db)
	if got := joined(c.query("SELECT pgml.version() <> ''")); got != "RowDescription; row t; SELECT 1; ready I" {
		t.Errorf("afterwards got %q", got)
	}
	_ = c.Close()
}

// A shutdown waits for a training without a client as for a transaction, and ends it when its
// time is over.
func TestShutdownWaitsForUnattendedTraining(t *testing.T) {
	for _, inTime := range []bool{true, false} {
		w := newTrainer(t, true, setup{})
		c := enter(t, w.addr, w.db)
		train(c, "shut")
		w.fitting(1)
		_ = c.Close()
		w.logged(`msg="training goes on without its client"`)
		w.logged(`msg="session ended"`)
		ctx, end := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.server.Shutdown(ctx) }()
		state, models := "57P01", 0
		if inTime {
			state, models = "00000", 1
			select {
			case err := <-done:
				t.Errorf("the shutdown did not wait: %v", err)
			default:
			}
			w.free()
		} else {
			end()
		}
		if err := <-done; (err == nil) != inTime {
			t.Errorf("in time %v: shutdown says %v", inTime, err)
		}
		end()
		w.logged(`msg="training ended without its client" .*sqlstate=` + state)
		w.fitting(0)
		w.free()
		if n := w.trained(); n != models {
			t.Errorf("in time %v: %d models", inTime, n)
		}
	}
}

// With PostgresML in the primary training goes on there, but for one in the client's own
// transaction, which nobody is there to commit.
func TestUnattendedTrainingOnThePrimary(t *testing.T) {
	w := newTrainer(t, true, setup{primary: pgtest.SharedReplica(t)})
	c := enter(t, w.addr, w.db)
	c.query("BEGIN")
	train(c, "inside")
	w.fitting(1)
	_ = c.Close()
	w.logged(`msg="training ended with its client" .*target=primary`)
	w.fitting(0)
	models := 0
	for project, way := range lostTrainings {
		if strings.HasPrefix(project, "beside") || project == "in-a-pipeline" || strings.HasPrefix(project, "before") {
			continue
		}
		c, _ := lazyReader(t, w.addr, w.db, way.encrypted, w.tls)
		way.begin(c, project)
		w.fitting(1)
		way.vanish(c)
		w.logged(fmt.Sprintf(`(.*msg="training goes on without its client" .*target=primary.*\n(.*\n)*){%d}`, models+1))
		w.used("primary", 1)
		w.free()
		w.used("primary", 0)
		if n := w.trained(); n != models+1 {
			t.Errorf("%s: %d models, not one more than %d", project, n, models)
		}
		models++
		w.hold()
	}
	w.free()
	w.logged(fmt.Sprintf(`(.*msg="training ended without its client" .*target=primary .*sqlstate=00000\n(.*\n)*){%d}`, models))
}
