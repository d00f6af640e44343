package pgmltest

import (
	"fmt"
	"strings"
	"testing"

	"pgshunt/testdata/datasets"
)

func TestErrorTexts(t *testing.T) {
	s := open(t)
	project, table := trained(t, s)
	nobody, clusters := fresh(), fresh()
	s.exec("CREATE MATERIALIZED VIEW public." + clusters + " AS SELECT * FROM " + table)
	for call, want := range map[string]string{
		"pgml.train('" + nobody + "')": "Project `" + nobody + "` does not exist. To create a new project, you must specify a `task`.",
		"pgml.train('" + project + "', 'classification', '" + table + "', 'target')":               "Project `\"" + project + "\"` already exists with a different task: `regression`. Create a new project instead.",
		"pgml.train('" + nobody + "', 'regression')":                                               "You must pass a `relation_name` and `y_column_name` to snapshot the first time you train a model.",
		"pgml.train('" + nobody + "', 'regression', '" + table + "')":                              "You must pass a `y_column_name` when you pass a `relation_name` for a supervised task.",
		"pgml.train('" + nobody + "', 'regression', 'no_such_table', 'y')":                         `Relation "no_such_table" could not be found in the public schema. Please specify the table schema, e.g. pgml.no_such_table`,
		"pgml.train('" + nobody + "', 'regression', 'pgml.no_such_table', 'y')":                    `Relation "pgml"."no_such_table" doesn't exist`,
		"pgml.train('" + nobody + "', 'regression', '" + clusters + "', 'target')":                 `could not be found in the public schema`, // a materialised view
		"pgml.train('" + nobody + "', 'regression', '" + table + "', 'no_such_column')":            "Column `no_such_column` not found. Did you pass the correct `y_column_name`?",
		"pgml.train('" + nobody + "', 'regression', '" + table + "', 'target', test_size => 5000)": "is too large. There are only 442 samples.",
		"pgml.predict('" + nobody + "', ARRAY[1]::real[])":                                         "No deployed model exists for the project named: `" + nobody + "`",
		"pgml.predict(999999999::bigint, ARRAY[1]::real[])":                                        "pgml.models WHERE id = 999999999 could not be loaded. Does it exist?",
		"pgml.deploy(999999999)": "999999999",
	} {
		if err := s.fails("SELECT * FROM " + call); err.Code != "XX000" || !strings.Contains(err.Message, want) {
			t.Errorf("%s:\n got %s %s\nwant XX000 %s", call, err.Code, err.Message, want)
		}
	}
	if n := value[int64](s, "SELECT count(*) FROM pgml.projects WHERE name = $1", nobody); n != 0 {
		t.Error("a failed training left its project")
	}
}

// Which calls PostgreSQL cannot choose an overload for. A proxy must therefore
// hand literals and parameter types through as they are.
func TestOverloadsAreAmbiguousWhereTheRealOnesAre(t *testing.T) {
	s := open(t)
	project, table := trained(t, s)
	for _, call := range []string{
		"pgml.predict('" + project + "', ARRAY[1.5, 2])", // numeric[]
		"pgml.predict('" + project + "', '{1,2}')",
		"pgml.predict(1, ARRAY[1, 2])",
	} {
		if err := s.fails("SELECT " + call); err.Code != "42725" || !strings.Contains(err.Message, "is not unique") {
			t.Errorf("%s: %s %s", call, err.Code, err.Message)
		}
	}
	if err := s.fails("PREPARE p AS SELECT pgml.predict($1, $2)"); err.Code != "42725" {
		t.Errorf("untyped parameters: %s %s", err.Code, err.Message)
	}

	ten := "0,0,0,0,0,0,0,0,0,0"
	want := value[float32](s, "SELECT pgml.predict('"+project+"', ARRAY["+ten+"]::real[])")
	id := live(s, project)
	for _, call := range []string{
		"pgml.predict('" + project + "', ARRAY[" + ten + "])", // int4[]
		"pgml.predict('" + project + "', ARRAY[" + ten + "]::float8[])",
		"pgml.predict('" + project + "', ARRAY[" + ten + "]::smallint[])",
		"pgml.predict('" + project + "', ARRAY[" + ten + "]::bigint[])",
		"pgml.predict('" + project + "', ARRAY[" + strings.TrimSuffix(strings.Repeat("false,", 10), ",") + "])",
		"pgml.predict('" + project + "', ROW(" + ten + "))",
		fmt.Sprintf("pgml.predict(%d::bigint, ARRAY["+ten+"]::real[])", id),
		fmt.Sprintf("pgml.predict(%d::bigint, ROW("+ten+"))", id),
		"(pgml.predict_joint('" + project + "', ARRAY[" + ten + "]::real[]))[1]",
	} {
		if got := value[float32](s, "SELECT "+call); got != want {
			t.Errorf("%s = %v, want %v", call, got, want)
		}
	}
	// A row of the table itself, label and all.
	same := value[bool](s, fmt.Sprintf("SELECT bool_and(abs(pgml.predict($1, t) - pgml.predict($1, %s)) < 0.001) FROM %s t", diabetesFeatures, table), project)
	if !same {
		t.Error("predicting from rows differs from predicting from arrays")
	}
}

func TestPredictIsStrict(t *testing.T) {
	s := open(t)
	if got := value[*float32](s, "SELECT pgml.predict(NULL::text, ARRAY[1]::real[])"); got != nil {
		t.Errorf("got %v", *got)
	}
}

func TestBatchesOfRows(t *testing.T) {
	s := open(t)
	project, table := trained(t, s)
	one := column[float32](s, fmt.Sprintf("SELECT pgml.predict($1, %s) FROM (SELECT * FROM %s LIMIT 5) t", diabetesFeatures, table), project)
	many := column[float32](s, fmt.Sprintf("SELECT pgml.predict_batch($1, array_agg(%s)) FROM (SELECT * FROM %s LIMIT 5) t", diabetesFeatures, table), project)
	byID := value[[]float32](s, fmt.Sprintf("SELECT pgml.predict_batch($1::bigint, array_agg(%s)) FROM (SELECT * FROM %s LIMIT 5) t", diabetesFeatures, table), live(s, project))
	if fmt.Sprint(one) != fmt.Sprint(many) || fmt.Sprint(one) != fmt.Sprint(byID) || len(one) != 5 {
		t.Errorf("one by one %v, as a set %v, as an array %v", one, many, byID)
	}
}

func TestPredictWorksInAReadOnlyTransaction(t *testing.T) {
	s := open(t)
	project, _ := trained(t, s)
	call := "SELECT pgml.predict('" + project + "', ARRAY[0,0,0,0,0,0,0,0,0,0]::real[])"
	want := value[float32](s, call)
	for name, other := range map[string]*session{"warm": s, "cold": open(t)} {
		other.exec("BEGIN READ ONLY")
		for range 2 {
			if got := value[float32](other, call); got != want {
				t.Errorf("%s: %v, want %v", name, got, want)
			}
		}
		other.exec("COMMIT")
	}
}

// The first use of a model in a session takes a transaction id, which a parallel
// worker, or a leader among workers, may not.
func TestAColdPredictFailsInAParallelPlan(t *testing.T) {
	s := open(t)
	project, table := trained(t, s)
	cold := open(t)
	force := "force_parallel_mode"
	if value[int64](cold, "SELECT current_setting('server_version_num')::int8") >= 160000 {
		force = "debug_parallel_query"
	}
	query := fmt.Sprintf("SELECT sum(pgml.predict('%s', %s)) FROM %s", project, diabetesFeatures, table)
	cold.exec("SET " + force + " = on")
	if err := cold.fails(query); !strings.Contains(err.Message, "during a parallel operation") {
		t.Errorf("%s %s", err.Code, err.Message)
	}
	cold.exec("SET " + force + " = off")
	cold.exec(query) // warms it up
	cold.exec("SET " + force + " = on")
	cold.exec(query)
}

// An IMMUTABLE call with constants is made by the planner.
func TestExplainAlreadyCallsPredict(t *testing.T) {
	s := open(t)
	project, _ := trained(t, s)
	other := open(t)
	other.exec("EXPLAIN SELECT pgml.predict('" + project + "', ARRAY[0,0,0,0,0,0,0,0,0,0]::real[])")
	inOrder(t, other.messages, "^INFO: Model cache miss ")
}

func TestAPreparedStatementKeepsAConstantAnswer(t *testing.T) {
	s := open(t)
	project, good, worse := twoModels(t, s)
	s.exec("PREPARE q AS SELECT pgml.predict('" + project + "', ARRAY[0,0,0.1,0,0,0,0,0,0,0]::real[])")
	s.exec("SELECT * FROM pgml.deploy($1::bigint)", good)
	before := value[float32](s, "EXECUTE q")
	s.exec("SELECT * FROM pgml.deploy($1::bigint)", worse)
	if got := value[float32](s, "EXECUTE q"); got != before {
		t.Errorf("the prepared statement went from %v to %v", before, got)
	}
}

func TestAnUnprivilegedUserCanPredict(t *testing.T) {
	s := open(t)
	project, _ := trained(t, s)
	role := fresh()
	s.exec("CREATE ROLE " + role)
	s.exec("GRANT USAGE ON SCHEMA pgml TO " + role)
	s.exec("GRANT SELECT ON ALL TABLES IN SCHEMA pgml TO " + role)
	afterwards(t, "DROP OWNED BY "+role+"; DROP ROLE "+role)
	other := open(t)
	other.exec("SET ROLE " + role)
	other.exec("SELECT pgml.predict('" + project + "', ARRAY[0,0,0,0,0,0,0,0,0,0]::real[])")
	if err := other.fails("SELECT * FROM pgml.train('" + project + "')"); err.Code != "42501" && err.Code != "XX000" {
		t.Errorf("training without rights: %s %s", err.Code, err.Message)
	}
}

func TestTextFeaturesAreEncoded(t *testing.T) {
	if real() {
		return // how text is encoded there depends on preprocess; only the stand-in has a default
	}
	s := open(t)
	table, project := load(t, s, datasets.Iris), fresh()
	s.exec(fmt.Sprintf(`ALTER TABLE public.%s ADD species text; UPDATE public.%[1]s SET species = 's' || target`, table))
	s.exec("SELECT * FROM pgml.train($1, 'regression', $2, 'target', hyperparams => '{}')", project, table)
	worst := value[float32](s, fmt.Sprintf("SELECT max(abs(pgml.predict($1, t) - target)) FROM %s t", table), project)
	if worst > 0.01 { // the species gives the target away
		t.Errorf("off by %v", worst)
	}
}
