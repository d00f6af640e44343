package pgmltest

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgshunt/testdata/datasets"
)

func TestRegressionLearnsWhatLeastSquaresSays(t *testing.T) {
	s := open(t)
	table := load(t, s, datasets.Diabetes)
	data := datasets.Parse(datasets.Diabetes)
	train := len(data.X) - int(math.Round(float64(len(data.X))*0.25))

	for algorithm, alpha := range map[string]float64{"linear": 0, "ridge": 0.5} {
		t.Run(algorithm, func(t *testing.T) {
			project := fresh()
			names, rows := s.shape("SELECT * FROM pgml.train($1, 'regression', $2, 'target', algorithm => $3::text::pgml.algorithm, "+
				"hyperparams => $4::text::jsonb, test_sampling => 'last')", project, table, algorithm,
				map[string]string{"linear": `{}`, "ridge": `{"alpha": 0.5}`}[algorithm])
			if names != "project task algorithm deployed" {
				t.Errorf("columns %q", names)
			}
			if want := project + "|regression|" + algorithm + "|true"; len(rows) != 1 || rows[0] != want {
				t.Errorf("rows %q, want one %q", rows, want)
			}

			coef, intercept := leastSquares(data.X[:train], data.Y[:train], alpha)
			got := column[float32](s, fmt.Sprintf("SELECT pgml.predict($1, %s) FROM %s", diabetesFeatures, table), project)
			worst, residual, total, mean := 0.0, 0.0, 0.0, 0.0
			for _, y := range data.Y[train:] {
				mean += y / float64(len(data.Y)-train)
			}
			for r, x := range data.X {
				want := answer(coef, intercept, x)
				worst = max(worst, math.Abs(float64(got[r])-want))
				if r >= train {
					residual += (data.Y[r] - want) * (data.Y[r] - want)
					total += (data.Y[r] - mean) * (data.Y[r] - mean)
				}
			}
			if worst > 0.05 { // of targets up to 346; features and answers are float4
				t.Errorf("predictions differ by up to %v", worst)
			}
			r2 := value[float64](s, "SELECT (metrics->>'r2')::float8 FROM pgml.models m JOIN pgml.projects p ON p.id = m.project_id WHERE p.name = $1", project)
			if math.Abs(r2-(1-residual/total)) > 1e-3 || r2 < 0.3 || r2 > 0.7 {
				t.Errorf("r2 is %v, by the test's own reckoning %v", r2, 1-residual/total)
			}
		})
	}
}

func TestClassificationOfIris(t *testing.T) {
	s := open(t)
	table, project := load(t, s, datasets.Iris), fresh()
	s.exec("SELECT * FROM pgml.train($1, 'classification', $2, 'target')", project, table)
	accuracy := value[float64](s, fmt.Sprintf("SELECT avg((pgml.predict($1, %s) = target)::int)::float8 FROM %s", irisFeatures, table), project)
	if accuracy < 0.9 {
		t.Errorf("accuracy %v", accuracy)
	}
	f1 := value[float64](s, "SELECT (metrics->>'f1')::float8 FROM pgml.models m JOIN pgml.projects p ON p.id = m.project_id WHERE p.name = $1", project)
	if f1 < 0.85 || f1 > 1 {
		t.Errorf("f1 %v", f1)
	}
	proba := value[[]float32](s, "SELECT pgml.predict_proba($1, ARRAY[5.1, 3.5, 1.4, 0.2]::real[])", project)
	sum := float32(0)
	for _, p := range proba {
		sum += p
	}
	if len(proba) != 3 || math.Abs(float64(sum)-1) > 1e-4 || proba[0] < proba[1] || proba[0] < proba[2] {
		t.Errorf("probabilities of a setosa: %v", proba)
	}
}

func TestClusteringFindsTheSpecies(t *testing.T) {
	s := open(t)
	iris, table, project := load(t, s, datasets.Iris), fresh(), fresh()
	s.exec(fmt.Sprintf("CREATE VIEW public.%s AS SELECT (%s)[1] AS a, (%[2]s)[2] AS b, (%[2]s)[3] AS c, (%[2]s)[4] AS d FROM %s", table, irisFeatures, iris))
	_, rows := s.shape("SELECT * FROM pgml.train($1, 'clustering', $2, hyperparams => '{\"n_clusters\": 3}')", project, table)
	if len(rows) != 1 || rows[0] != project+"|clustering|kmeans|true" {
		t.Errorf("rows %q", rows) // 'linear' has become kmeans
	}
	// Each cluster's commonest species should be most of it.
	pure := value[float64](s, fmt.Sprintf(`SELECT sum(best)::float8 / 150 FROM (SELECT k, max(n) AS best FROM (
		SELECT pgml.predict($1, %s) AS k, target, count(*) AS n FROM %s GROUP BY 1, 2) c GROUP BY k) b`, irisFeatures, iris), project)
	if pure < 0.8 {
		t.Errorf("purity %v", pure)
	}
}

func TestDecomposition(t *testing.T) {
	s := open(t)
	iris, view, project := load(t, s, datasets.Iris), fresh(), fresh()
	s.exec(fmt.Sprintf("CREATE VIEW public.%s AS SELECT (%s)[1] AS a, (%[2]s)[2] AS b, (%[2]s)[3] AS c, (%[2]s)[4] AS d FROM %s", view, irisFeatures, iris))
	s.exec("SELECT * FROM pgml.train($1, 'decomposition', $2, hyperparams => '{\"n_components\": 2}')", project, view)
	explained := value[float64](s, "SELECT (metrics->>'cumulative_explained_variance')::float8 FROM pgml.models m JOIN pgml.projects p ON p.id = m.project_id WHERE p.name = $1", project)
	if explained < 0.95 || explained > 1 { // scikit-learn: 0.9777 over all rows
		t.Errorf("explained variance %v", explained)
	}
	if got := value[[]float32](s, "SELECT pgml.decompose($1, ARRAY[5.1, 3.5, 1.4, 0.2]::real[])", project); len(got) != 2 {
		t.Errorf("decompose: %v", got)
	}
}

func TestJointTraining(t *testing.T) {
	s := open(t)
	table, project := load(t, s, datasets.Diabetes), fresh()
	s.exec(fmt.Sprintf("ALTER TABLE public.%s ADD twice real; UPDATE public.%[1]s SET twice = target * 2", table))
	s.exec("SELECT * FROM pgml.train_joint($1, 'regression', $2, ARRAY['target', 'twice'])", project, table)
	got := value[[]float32](s, fmt.Sprintf("SELECT pgml.predict_joint($1, %s) FROM %s LIMIT 1", diabetesFeatures, table), project)
	if len(got) != 2 || math.Abs(float64(got[1]-2*got[0])) > 0.1 {
		t.Errorf("joint prediction %v, want the second twice the first", got)
	}
}

func TestTrainSaysWhatItDoesInOrder(t *testing.T) {
	s := open(t)
	table, project := load(t, s, datasets.Diabetes), fresh()
	s.exec("SET client_min_messages = error") // INFO comes nevertheless
	s.exec("SELECT * FROM pgml.train($1, 'regression', $2, 'target')", project, table)
	inOrder(t, s.messages,
		`^INFO: Snapshotting table "`+table+`", this may take a little while\.\.\.$`,
		`^INFO: Dataset \{ num_features: 10, .*num_rows: 442`,
		`^INFO: Column "age": Statistics \{`,
		`^INFO: Training Model \{ id: \d+, task: regression, algorithm: linear, runtime: rust \}$`,
		`^INFO: Hyperparameter searches: 1, cross validation folds: 1$`,
		`^INFO: Hyperparams: `,
		`^INFO: Metrics: `,
		`^INFO: Deploying model id: \d+$`,
	)

	s.exec("RESET client_min_messages")
	s.messages = nil
	_, rows := s.shape("SELECT * FROM pgml.train($1, algorithm => 'ridge', hyperparams => '{\"alpha\": 1000000}')", project)
	if len(rows) != 1 || rows[0] != project+"|regression|ridge|false" {
		t.Errorf("a worse model: %q", rows)
	}
	inOrder(t, s.messages,
		`^INFO: Using existing snapshot from "pgml"\."snapshot_\d+"$`,
		`^WARNING: New model's r2 is not better than current model\. New: .*, Current .*$`,
		`^WARNING: Not deploying newly trained model\.$`,
	)

	s.messages = nil
	_, rows = s.shape("SELECT * FROM pgml.train($1, automatic_deploy => false)", project)
	if len(rows) != 1 || !strings.HasSuffix(rows[0], "|false") {
		t.Errorf("automatic_deploy off: %q", rows)
	}
	inOrder(t, s.messages, `^WARNING: Automatic deployment disabled via configuration\.$`)
}

func inOrder(t *testing.T, messages []string, patterns ...string) {
	t.Helper()
	rest := messages
next:
	for _, p := range patterns {
		for i, m := range rest {
			if regexp.MustCompile(p).MatchString(m) {
				rest = rest[i+1:]
				continue next
			}
		}
		t.Errorf("no %s in its place among:\n%s", p, strings.Join(messages, "\n"))
		return
	}
}

func TestASearchTriesEveryCombination(t *testing.T) {
	s := open(t)
	table, project := load(t, s, datasets.Diabetes), fresh()
	s.exec(`SELECT * FROM pgml.train($1, 'regression', $2, 'target', algorithm => 'ridge', search => 'grid',
		search_params => '{"alpha": [0.01, 1, 1000]}', test_sampling => 'last')`, project, table)
	tried := 0
	for _, m := range s.messages {
		if strings.HasPrefix(m, "INFO: Hyperparameter searches: 3,") {
			tried = 3
		}
	}
	if tried != 3 {
		t.Errorf("messages: %q", s.messages)
	}
	alpha := value[float64](s, "SELECT (hyperparams->>'alpha')::float8 FROM pgml.models m JOIN pgml.projects p ON p.id = m.project_id WHERE p.name = $1", project)
	if alpha == 1000 {
		t.Errorf("the worst alpha was kept")
	}
}

func TestAPlainSnapshotReadsTheLiveRelationAndAMaterialisedOneDoesNot(t *testing.T) {
	s := open(t)
	for _, materialised := range []bool{false, true} {
		t.Run(fmt.Sprint(materialised), func(t *testing.T) {
			table, project := load(t, s, datasets.Diabetes), fresh()
			s.exec("SELECT * FROM pgml.train($1, 'regression', $2, 'target', materialize_snapshot => $3)", project, table, materialised)
			snapshot := value[string](s, `SELECT 'pgml.snapshot_' || snapshot_id FROM pgml.models m
				JOIN pgml.projects p ON p.id = m.project_id WHERE p.name = $1`, project)
			if got := value[bool](s, "SELECT to_regclass($1) IS NOT NULL", snapshot); got != materialised {
				t.Errorf("table %s: %v", snapshot, got)
			}
			s.exec("DELETE FROM " + table + " WHERE target > 100")
			s.messages = nil
			s.exec("SELECT * FROM pgml.train($1)", project)
			all := regexp.MustCompile(`num_rows: 442`).MatchString(strings.Join(s.messages, "\n"))
			if all != materialised {
				t.Errorf("read all rows: %v", all)
			}
		})
	}
}

func TestLoadDataset(t *testing.T) {
	s := open(t)
	for name, rows := range map[string]int64{"iris": 150, "diabetes": 442} {
		names, got := s.shape("SELECT * FROM pgml.load_dataset($1)", name)
		if names != "table_name rows" || len(got) != 1 || got[0] != fmt.Sprintf("pgml.%s|%d", name, rows) {
			t.Errorf("%s: %s %q", name, names, got)
		}
		if n := value[int64](s, "SELECT count(*) FROM pgml."+name); n != rows {
			t.Errorf("%s has %d rows", name, n)
		}
	}
	if worst := value[float64](s, "SELECT max(abs(bmi))::float8 FROM pgml.diabetes"); worst > 0.2 {
		t.Errorf("bmi up to %v: not the scaled set", worst)
	}
}

func TestPredictingATableIsQuick(t *testing.T) {
	s := open(t)
	project, table := trained(t, s)
	query := fmt.Sprintf("SELECT sum(pgml.predict('%s', %s)) FROM %s", project, diabetesFeatures, table)
	s.exec(query) // loads the model
	began := time.Now()
	s.exec(query)
	if took := time.Since(began); took > time.Second {
		t.Errorf("442 predictions took %v", took)
	} else {
		t.Logf("442 predictions took %v", took)
	}
}
