package pgmltest

import (
	"fmt"
	"strings"
	"testing"

	"pgshunt/testdata/datasets"
)

// twoModels makes a project with a good model and then a worse one, in that
// order, the good one live, and returns their ids.
func twoModels(t *testing.T, s *session) (project string, good, worse int64) {
	t.Helper()
	project, table := fresh(), load(t, s, datasets.Diabetes)
	s.exec("SELECT * FROM pgml.train($1, 'regression', $2, 'target', test_sampling => 'last')", project, table)
	s.exec(`SELECT * FROM pgml.train($1, algorithm => 'ridge', hyperparams => '{"alpha": 100000}')`, project)
	ids := column[int64](s, "SELECT m.id FROM pgml.models m JOIN pgml.projects p ON p.id = m.project_id WHERE p.name = $1 ORDER BY m.id", project)
	if len(ids) != 2 {
		t.Fatalf("models %v", ids)
	}
	return project, ids[0], ids[1]
}

func live(s *session, project string) int64 {
	s.t.Helper()
	return value[int64](s, "SELECT id FROM pgml.deployed_models WHERE name = $1", project)
}

func TestDeployStrategies(t *testing.T) {
	s := open(t)
	project, good, worse := twoModels(t, s)
	if got := live(s, project); got != good {
		t.Fatalf("live model %d, want the better %d", got, good)
	}
	for _, step := range []struct {
		call string
		row  string
		live int64
	}{
		{"pgml.deploy('" + project + "', 'most_recent')", "most_recent|ridge", worse},
		{"pgml.deploy('" + project + "', 'rollback')", "rollback|linear", good},
		{"pgml.deploy('" + project + "', strategy => 'most_recent', algorithm => 'ridge')", "most_recent|ridge", worse},
		{"pgml.deploy('" + project + "', 'best_score')", "best_score|linear", good},
		{fmt.Sprintf("pgml.deploy(%d)", worse), "specific|ridge", worse},
	} {
		names, rows := s.shape("SELECT * FROM " + step.call)
		if names != "project strategy algorithm" || len(rows) != 1 || rows[0] != project+"|"+step.row {
			t.Errorf("%s: %s %q", step.call, names, rows)
		}
		if got := live(s, project); got != step.live {
			t.Errorf("%s: live model %d, want %d", step.call, got, step.live)
		}
	}
	if got := value[int64](s, "SELECT count(*) FROM pgml.deployments d JOIN pgml.projects p ON p.id = d.project_id WHERE p.name = $1", project); got != 6 {
		t.Errorf("%d deployments, want 6: history is kept", got)
	}

	for call, want := range map[string]string{
		"pgml.deploy('" + project + "', 'new_score')":          "invalid strategy",
		"pgml.deploy('" + project + "', 'specific')":           "invalid strategy",
		"pgml.deploy('" + project + "', 'most_recent', 'svm')": "No qualified models exist for this deployment.",
	} {
		if err := s.fails("SELECT * FROM " + call); err.Code != "XX000" || !strings.Contains(err.Message, want) {
			t.Errorf("%s: %s %s", call, err.Code, err.Message)
		}
	}
	if err := s.fails("SELECT * FROM pgml.deploy('" + project + "')"); err.Code != "42883" && err.Code != "22P02" {
		t.Errorf("deploy without a strategy: %s %s", err.Code, err.Message) // the strategy has no default
	}
}

// The live model is known to all sessions at once.
func TestDeployReachesWarmSessions(t *testing.T) {
	a, b := open(t), open(t)
	project, _, worse := twoModels(t, a)
	call := "SELECT pgml.predict('" + project + "', ARRAY[0,0,0.1,0,0,0,0,0,0,0]::real[])"
	first := value[float32](b, call)
	a.exec(fmt.Sprintf("SELECT * FROM pgml.deploy(%d)", worse))
	if got := value[float32](b, call); got == first {
		t.Errorf("still %v after a deployment", got)
	}
}

// The map of live models is not undone by a rollback: others are sent to a
// model that never came to be, until a fresh session looks the name up.
func TestARolledBackTrainingPoisonsTheMap(t *testing.T) {
	warm := open(t)
	project, _ := trained(t, warm)
	call := "SELECT pgml.predict('" + project + "', ARRAY[0,0,0,0,0,0,0,0,0,0]::real[])"
	want := value[float32](warm, call)

	trainer := open(t)
	trainer.exec("BEGIN")
	trainer.exec("SELECT * FROM pgml.train($1, algorithm => 'linear')", project) // a tie deploys
	trainer.exec("ROLLBACK")
	if n := value[int64](trainer, "SELECT count(*) FROM pgml.models m JOIN pgml.projects p ON p.id = m.project_id WHERE p.name = $1", project); n != 1 {
		t.Errorf("%d models after the rollback", n)
	}

	if err := warm.fails(call); err.Code != "XX000" || !strings.Contains(err.Message, "could not be loaded. Does it exist?") {
		t.Errorf("warm session: %s %s", err.Code, err.Message)
	}
	if got := value[float32](open(t), call); got != want {
		t.Errorf("fresh session: %v, want %v", got, want)
	}
	if got := value[float32](warm, call); got != want {
		t.Errorf("warm session after the repair: %v, want %v", got, want)
	}
}

// A deployment that comes as a row, as by logical replication, is not seen by
// warm sessions until a fresh one looks the name up.
func TestADeploymentThatArrivesAsARowIsStaleForWarmSessions(t *testing.T) {
	warm := open(t)
	project, good, worse := twoModels(t, warm)
	call := "SELECT pgml.predict('" + project + "', ARRAY[0,0,0.1,0,0,0,0,0,0,0]::real[])"
	old := value[float32](warm, call)
	warm.exec(`INSERT INTO pgml.deployments (project_id, model_id, strategy)
		SELECT project_id, $1, 'specific' FROM pgml.models WHERE id = $2`, worse, good)
	if got := value[float32](warm, call); got != old {
		t.Errorf("the warm session changed from %v to %v", old, got)
	}
	renewed := value[float32](open(t), call)
	if renewed == old {
		t.Error("the fresh session is stale too")
	}
	if got := value[float32](warm, call); got != renewed {
		t.Errorf("the warm session after the repair: %v, want %v", got, renewed)
	}
}

func TestDeploymentsCannotBeUpdated(t *testing.T) {
	s := open(t)
	project, _ := trained(t, s)
	err := s.fails(`UPDATE pgml.deployments SET created_at = now() WHERE project_id = (SELECT id FROM pgml.projects WHERE name = '` + project + `')`)
	if !strings.Contains(err.Message, `record "new" has no field "updated_at"`) {
		t.Errorf("%s %s", err.Code, err.Message)
	}
	before := value[string](s, "SELECT updated_at::text FROM pgml.projects WHERE name = $1", project)
	s.exec("UPDATE pgml.projects SET task = 'clustering' WHERE name = $1", project)
	if value[string](s, "SELECT updated_at::text FROM pgml.projects WHERE name = $1", project) == before {
		t.Error("the trigger of projects did nothing")
	}
}

func TestModelsAreLoadedOncePerSession(t *testing.T) {
	s := open(t)
	project, _ := trained(t, s)
	other := open(t)
	for range 3 {
		other.exec("SELECT pgml.predict('" + project + "', ARRAY[0,0,0,0,0,0,0,0,0,0]::real[])")
	}
	misses := 0
	for _, m := range other.messages {
		if strings.HasPrefix(m, "INFO: Model cache miss ") {
			misses++
		}
	}
	if misses != 1 {
		t.Errorf("%d misses: %q", misses, other.messages)
	}
}

func TestViews(t *testing.T) {
	s := open(t)
	project, table := trained(t, s)
	for view, want := range map[string]string{
		"overview":        "name deployed_at task algorithm runtime relation_name y_column_name test_sampling test_size",
		"trained_models":  "id name task algorithm runtime created_at test_sampling test_size deployed",
		"deployed_models": "id name task algorithm runtime deployed_at",
	} {
		names, rows := s.shape("SELECT * FROM pgml."+view+" WHERE name = $1", project)
		if names != want || len(rows) != 1 {
			t.Errorf("%s: columns %q, %d rows", view, names, len(rows))
		}
	}
	if got := value[string](s, "SELECT relation_name FROM pgml.overview WHERE name = $1", project); !strings.HasSuffix(got, table) {
		t.Errorf("relation %q", got)
	}
}
