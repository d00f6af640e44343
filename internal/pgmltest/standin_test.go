package pgmltest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/pgtest"
	"pgshunt/testdata/datasets"
)

// What is here needs the stand-in: a server of its own, or a fit that takes as
// long as the test likes. On a real server the tests have nothing to check.

// training runs a training that takes a minute unless somebody ends it, and
// returns its session and where its error will come.
func training(t *testing.T) (*session, <-chan error) {
	t.Helper()
	s := open(t)
	table := load(t, s, datasets.Iris)
	ended := make(chan error, 1)
	go func() {
		_, err := s.Exec(context.Background(), fmt.Sprintf(`SELECT * FROM pgml.train('%s', 'regression', '%s', 'target',
			hyperparams => '{"sleep_seconds": 60}')`, fresh(), table))
		ended <- err
	}()
	watch := pgtest.SharedReplica(t).Super(t, "postgres")
	busy := pgtest.Eventually(func() bool {
		var n int
		err := watch.QueryRow(t.Context(),
			"SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'", s.PgConn().PID()).Scan(&n)
		return err == nil && n == 1
	})
	if !busy {
		t.Fatal("the training never came to its fit")
	}
	return s, ended
}

func TestAFitIgnoresCancelButNotTermination(t *testing.T) {
	if real() {
		return
	}
	s, ended := training(t)
	ctx, cancel := context.WithTimeout(t.Context(), pgtest.Patience)
	defer cancel()
	if err := s.PgConn().CancelRequest(ctx); err != nil {
		t.Fatal(err)
	}
	// That nothing happens can only be seen by waiting a little.
	select {
	case err := <-ended:
		t.Fatalf("the fit ended by a cancel: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	pgtest.SharedReplica(t).Exec(t, fmt.Sprintf("SELECT pg_terminate_backend(%d)", s.PgConn().PID()))
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "57P01") {
			t.Errorf("got %v, want 57P01", err)
		}
	case <-ctx.Done():
		t.Error("the fit outlives its backend's termination")
	}
}

func TestPredictOnAHotStandby(t *testing.T) {
	if real() {
		return
	}
	source := pgtest.Replica(t)
	source.Exec(t, `SELECT * FROM pgml.load_dataset('iris');
		SELECT * FROM pgml.train('iris', 'classification', 'pgml.iris', 'target')`)
	standby := pgtest.Standby(t, source)
	conn := standby.Super(t, "postgres")
	if _, err := conn.Exec(t.Context(), "SELECT pgml.embed('m', 'words'), pgml.norm_l1(ARRAY[1]::real[])"); err != nil {
		t.Errorf("functions without a catalogue: %v", err)
	}
	for _, project := range []string{"'iris'", "1::bigint"} {
		_, err := conn.Exec(t.Context(), "SELECT pgml.predict("+project+", ARRAY[1,2,3,4]::real[])", pgx.QueryExecModeSimpleProtocol)
		if err == nil || !strings.Contains(err.Error(), "cannot assign TransactionIds during recovery") {
			t.Errorf("predict(%s): %v", project, err)
		}
	}
}

func TestKnobs(t *testing.T) {
	if real() {
		return
	}
	s := open(t)
	table, project := load(t, s, datasets.Iris), fresh()
	if err := s.fails("SELECT * FROM pgml.train('" + project + "', 'regression', '" + table + `', 'target', hyperparams => '{"fail": true}')`); err.Code != "XX000" {
		t.Errorf("%s %s", err.Code, err.Message)
	}
	s.exec(`SELECT * FROM pgml.train($1, 'regression', $2, 'target', hyperparams => '{"model_bytes": 1000000}')`, project, table)
	size := value[int64](s, `SELECT length(data)::int8 FROM pgml.files f JOIN pgml.models m ON m.id = f.model_id
		JOIN pgml.projects p ON p.id = m.project_id WHERE p.name = $1 AND path = 'estimator.rmp' AND part = 0`, project)
	if size != 1000000 {
		t.Errorf("a model of %d bytes", size)
	}
	open(t).exec("SELECT pgml.predict('" + project + "', ARRAY[1,2,3,4])")

	s.exec("SET pgml_standin.embed_delay = 0.2")
	began := time.Now()
	s.exec("SELECT pgml.embed('m', 'x')")
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("a delayed embedding took %v", took)
	}
}
