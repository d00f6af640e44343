package pgmltest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgshunt/internal/pgtest"
	"pgshunt/testdata/datasets"
)

func TestVersion(t *testing.T) {
	s := open(t)
	version := value[string](s, "SELECT pgml.version()")
	if real() == strings.Contains(version, "stand-in") {
		t.Errorf("version %q; a real server: %v", version, real())
	}
	s.exec("SELECT pgml.validate_shared_library(), pgml.validate_python_dependencies(), pgml.python_version()")
}

// Labels decide what the planner folds, pushes to workers, or skips for NULL.
func TestFunctionLabels(t *testing.T) {
	s := open(t)
	const inference, writes = "immutable strict safe", "volatile unsafe"
	want := map[string]string{
		"train": writes, "train_joint": writes, "tune": "volatile safe",
		"deploy(model_id bigint)": "volatile strict unsafe", "deploy(project_name text": writes,
		"snapshot": "volatile strict unsafe", "load_dataset": writes, "dump_all": "volatile strict unsafe",
		"load_all": "volatile strict unsafe", "activate_venv": "volatile strict unsafe",
		"auto_updated_at": writes, "set_updated_at": writes,
		"predict": inference, "predict_proba": inference, "predict_joint": inference, "predict_batch": inference,
		"decompose": inference, "generate": inference,
		"embed": inference, "rank": inference, "chunk": inference, "transform": inference, "transform_stream": inference,
		"clear_gpu_cache": "immutable safe", "version": "immutable",
		"add": inference, "subtract": inference, "multiply": inference, "divide": inference,
		"norm_l0": inference, "norm_l1": inference, "norm_l2": inference, "norm_max": inference,
		"normalize_l1": inference, "normalize_l2": inference, "normalize_max": inference,
		"distance_l1": inference, "distance_l2": inference, "dot_product": inference, "cosine_similarity": inference,
	}
	rows := column[string](s, `SELECT proname || '(' || pg_get_function_arguments(p.oid) || ')=' ||
			CASE provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END ||
			CASE WHEN proisstrict THEN ' strict' ELSE '' END || CASE proparallel WHEN 's' THEN ' safe' WHEN 'r' THEN ' restricted' ELSE ' unsafe' END
		FROM pg_proc p WHERE pronamespace = 'pgml'::regnamespace AND prokind = 'f'`)
	seen := map[string]int{}
	for _, row := range rows {
		signature, labels, _ := cutLast(row, "=")
		name, _, _ := strings.Cut(signature, "(")
		for w, l := range want {
			if w == name || strings.Contains(w, "(") && strings.HasPrefix(signature, w) {
				seen[w]++
				if !strings.HasPrefix(labels, l) {
					t.Errorf("%s is %s, want %s", signature, labels, l)
				}
			}
		}
	}
	for w := range want {
		if seen[w] == 0 {
			t.Errorf("no function %s", w)
		}
	}
	for w, n := range map[string]int{
		"predict": 9, "predict_proba": 2, "predict_joint": 2, "predict_batch": 2, "embed": 2,
		"transform": 4, "transform_stream": 4, "generate": 2, "add": 4, "norm_l1": 2, "dot_product": 2,
	} {
		if seen[w] != n {
			t.Errorf("%d overloads of %s, want %d", seen[w], w, n)
		}
	}
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func TestTrainTakesItsFifteenArgumentsInOrder(t *testing.T) {
	s := open(t)
	const want = "project_name text, task text DEFAULT NULL, relation_name text DEFAULT NULL, y_column_name text DEFAULT NULL, " +
		"algorithm pgml.algorithm DEFAULT 'linear', hyperparams jsonb DEFAULT '{}', search pgml.search DEFAULT NULL, " +
		"search_params jsonb DEFAULT '{}', search_args jsonb DEFAULT '{}', test_size real DEFAULT 0.25, " +
		"test_sampling pgml.sampling DEFAULT 'stratified', runtime pgml.runtime DEFAULT NULL, automatic_deploy boolean DEFAULT true, " +
		"materialize_snapshot boolean DEFAULT false, preprocess jsonb DEFAULT '{}'"
	got := value[string](s, "SELECT pg_get_function_arguments(oid) FROM pg_proc WHERE proname = 'train' AND pronamespace = 'pgml'::regnamespace")
	for _, cast := range []string{"::pgml.algorithm", "::jsonb", "::pgml.search", "::pgml.sampling", "::pgml.runtime", "::text", "::character varying"} {
		got = strings.ReplaceAll(got, cast, "")
	}
	for _, quoted := range []string{"'0.25'", "(0.25)"} { // a real constant is printed in several ways
		got = strings.ReplaceAll(got, quoted, "0.25")
	}
	got = strings.ReplaceAll(got, "0.25::real", "0.25")
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestEnums(t *testing.T) {
	s := open(t)
	for name, n := range map[string]int{"algorithm": 45, "task": 13, "runtime": 3, "sampling": 3, "search": 2, "status": 3, "strategy": 5} {
		got := column[string](s, "SELECT enumlabel::text FROM pg_enum WHERE enumtypid = ('pgml.' || $1::text)::regtype ORDER BY enumsortorder", name)
		if len(got) < n { // upgraded servers have a few more
			t.Errorf("%s: %d labels, want %d: %v", name, len(got), n, got)
		}
	}
}

func TestCatalogueTablesAreTheExtensionsAndNotDumped(t *testing.T) {
	s := open(t)
	table, project := load(t, s, datasets.Diabetes), fresh()
	s.exec("SELECT * FROM pgml.train($1, 'regression', $2, 'target', materialize_snapshot => true)", project, table)
	if config := value[*string](s, "SELECT extconfig::text FROM pg_extension WHERE extname = 'pgml'"); config != nil {
		t.Errorf("extconfig %s", *config)
	}

	program := "pg_dump"
	if !real() {
		program = filepath.Join(pgtest.SharedReplica(t).Binaries.Dir, program)
	}
	for name, args := range map[string][]string{
		"whole": nil, "schema": {"-n", "pgml"}, "table": {"-t", "pgml.models", "-t", "pgml.projects"},
	} {
		cmd := exec.Command(program, append(args, "--dbname="+serverURL(t))...)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		dump := string(out)
		if strings.Contains(dump, project) || strings.Contains(dump, "COPY pgml.models") {
			t.Errorf("%s: the dump has the project", name)
		}
		if name == "whole" && !(strings.Contains(dump, "CREATE EXTENSION IF NOT EXISTS pgml") && strings.Contains(dump, "COPY pgml.snapshot_")) {
			t.Error("the whole dump lacks the extension, or the materialised snapshot")
		}
	}
}

func TestVectorFunctions(t *testing.T) {
	s := open(t)
	for _, typ := range []string{"real", "float8"} {
		a, b := "ARRAY[1,-2,3]::"+typ+"[]", "ARRAY[4,5,6]::"+typ+"[]"
		for call, want := range map[string]string{
			"add(" + a + ", 1::" + typ + ")": "{2,-1,4}", "subtract(" + b + ", " + a + ")": "{3,7,3}",
			"multiply(" + a + ", " + b + ")": "{4,-10,18}", "divide(" + b + ", 2::" + typ + ")": "{2,2.5,3}",
			"norm_l0(" + a + ")": "3", "norm_l1(" + a + ")": "6", "norm_max(" + a + ")": "3",
			"norm_l2(ARRAY[3,4]::" + typ + "[])": "5", "normalize_l2(ARRAY[3,4]::" + typ + "[])": "{0.6,0.8}",
			"normalize_l1(ARRAY[1,3]::" + typ + "[])": "{0.25,0.75}", "normalize_max(ARRAY[1,-4]::" + typ + "[])": "{0.25,-1}",
			"distance_l1(" + a + ", " + b + ")": "13", "distance_l2(ARRAY[0,0]::" + typ + "[], ARRAY[3,4]::" + typ + "[])": "5",
			"dot_product(" + a + ", " + b + ")": "12", "cosine_similarity(" + a + ", " + a + ")": "1",
		} {
			if got := value[string](s, "SELECT round_trip::text FROM pgml."+call+" round_trip"); got != want && got != want+"0000001" {
				t.Errorf("%s = %s, want %s", call, got, want)
			}
		}
		for aggregate, want := range map[string]string{
			"sum": "{5,3,9}", "max": "{4,5,6}", "min": "{1,-2,3}", "max_abs": "{4,5,6}", "min_abs": "{1,2,3}",
		} {
			if got := value[string](s, "SELECT pgml."+aggregate+"(v)::text FROM (VALUES ("+a+"), ("+b+"), (NULL)) t(v)"); got != want {
				t.Errorf("%s = %s, want %s", aggregate, got, want)
			}
		}
	}
}
