package router

import "pgshunt/parser"

// pgmlSchema is where PostgresML's extension lives; its control file fixes the name.
const pgmlSchema = "pgml"

// work is what a function of PostgresML does, as routing sees it.
type work uint8

const (
	workNone     work = iota
	workInfer         // a pure function of its arguments and of the models
	workTrain         // trains, deploys, or changes the catalogue of models
	workDescribe      // describes the server
)

// function is one function of PostgresML. text is its full name, so that a decision
// can name it without allocating; project says whether its first argument, or the one
// called project_name, is a project.
type function struct {
	text    string
	work    work
	project bool
	// ambiguous is set where pg_catalog has a function of the same name, which an
	// unqualified call finds first: only least arguments or more mean PostgresML's.
	ambiguous bool
	least     int
	// source is the place, from 1, of the argument called relation_name; 0 is none.
	source int
}

// functions are those of PostgresML 2.10.0 by name.
var functions = map[string]function{
	"train":       {text: "pgml.train", work: workTrain, project: true, source: 3},
	"train_joint": {text: "pgml.train_joint", work: workTrain, project: true, source: 3},
	"tune":        {text: "pgml.tune", work: workTrain, project: true, source: 3},
	"deploy":      {text: "pgml.deploy", work: workTrain, project: true},
	// A snapshot belongs to the server that will train from it.
	"snapshot":        {text: "pgml.snapshot", work: workTrain, source: 1},
	"load_dataset":    {text: "pgml.load_dataset", work: workTrain},
	"dump_all":        {text: "pgml.dump_all", work: workTrain},
	"load_all":        {text: "pgml.load_all", work: workTrain},
	"auto_updated_at": {text: "pgml.auto_updated_at", work: workTrain},
	"set_updated_at":  {text: "pgml.set_updated_at", work: workTrain},
	"activate_venv":   {text: "pgml.activate_venv", work: workInfer},

	"predict":       {text: "pgml.predict", work: workInfer, project: true},
	"predict_proba": {text: "pgml.predict_proba", work: workInfer, project: true},
	"predict_joint": {text: "pgml.predict_joint", work: workInfer, project: true},
	"predict_batch": {text: "pgml.predict_batch", work: workInfer, project: true},
	"decompose":     {text: "pgml.decompose", work: workInfer, project: true},
	"generate":      {text: "pgml.generate", work: workInfer, project: true},

	"embed":            {text: "pgml.embed", work: workInfer},
	"rank":             {text: "pgml.rank", work: workInfer, ambiguous: true, least: 3},
	"chunk":            {text: "pgml.chunk", work: workInfer},
	"transform":        {text: "pgml.transform", work: workInfer},
	"transform_stream": {text: "pgml.transform_stream", work: workInfer},
	"clear_gpu_cache":  {text: "pgml.clear_gpu_cache", work: workInfer},

	"sklearn_f1_score":               {text: "pgml.sklearn_f1_score", work: workInfer},
	"sklearn_r2_score":               {text: "pgml.sklearn_r2_score", work: workInfer},
	"sklearn_regression_metrics":     {text: "pgml.sklearn_regression_metrics", work: workInfer},
	"sklearn_classification_metrics": {text: "pgml.sklearn_classification_metrics", work: workInfer},

	"add":               {text: "pgml.add", work: workInfer},
	"subtract":          {text: "pgml.subtract", work: workInfer},
	"multiply":          {text: "pgml.multiply", work: workInfer},
	"divide":            {text: "pgml.divide", work: workInfer},
	"norm_l0":           {text: "pgml.norm_l0", work: workInfer},
	"norm_l1":           {text: "pgml.norm_l1", work: workInfer},
	"norm_l2":           {text: "pgml.norm_l2", work: workInfer},
	"norm_max":          {text: "pgml.norm_max", work: workInfer},
	"normalize_l1":      {text: "pgml.normalize_l1", work: workInfer},
	"normalize_l2":      {text: "pgml.normalize_l2", work: workInfer},
	"normalize_max":     {text: "pgml.normalize_max", work: workInfer},
	"distance_l1":       {text: "pgml.distance_l1", work: workInfer},
	"distance_l2":       {text: "pgml.distance_l2", work: workInfer},
	"dot_product":       {text: "pgml.dot_product", work: workInfer},
	"cosine_similarity": {text: "pgml.cosine_similarity", work: workInfer},
	"max_abs":           {text: "pgml.max_abs", work: workInfer},
	"min_abs":           {text: "pgml.min_abs", work: workInfer},
	// pg_catalog has these for every array type, and it is searched first.
	"sum": {text: "pgml.sum", work: workInfer, ambiguous: true, least: 99},
	"max": {text: "pgml.max", work: workInfer, ambiguous: true, least: 99},
	"min": {text: "pgml.min", work: workInfer, ambiguous: true, least: 99},

	"version":                      {text: "pgml.version", work: workDescribe, ambiguous: true, least: 99},
	"python_version":               {text: "pgml.python_version", work: workDescribe},
	"python_package_version":       {text: "pgml.python_package_version", work: workDescribe},
	"python_pip_freeze":            {text: "pgml.python_pip_freeze", work: workDescribe},
	"validate_python_dependencies": {text: "pgml.validate_python_dependencies", work: workDescribe},
	"validate_shared_library":      {text: "pgml.validate_shared_library", work: workDescribe},
	"xgboost_version":              {text: "pgml.xgboost_version", work: workDescribe},
}

// relations are those that PostgresML, its SDK and its dashboard create in schema
// pgml, for names without a schema. The text is kept for the same reason as above.
var relations = map[string]string{
	"projects": "pgml.projects", "snapshots": "pgml.snapshots", "models": "pgml.models",
	"deployments": "pgml.deployments", "files": "pgml.files", "logs": "pgml.logs",
	"overview": "pgml.overview", "trained_models": "pgml.trained_models",
	"deployed_models": "pgml.deployed_models", "collections": "pgml.collections",
	"splitters": "pgml.splitters", "notebooks": "pgml.notebooks",
	"notebook_cells": "pgml.notebook_cells", "uploaded_files": "pgml.uploaded_files",
}

// lookup returns the function of PostgresML that c calls. A name without a schema is
// one where search_path holds pgml; a name in another schema never is.
func lookup(c *parser.Call, v *View) (function, bool) {
	if c.Schema != "" && c.Schema != pgmlSchema {
		return function{}, false
	}
	fn, known := functions[c.Name]
	if c.Schema == pgmlSchema {
		if !known {
			// Somebody's own function in PostgresML's schema: only there does it exist.
			fn = function{text: c.Text, work: workInfer}
		}
		return fn, true
	}
	if !known || !v.searches(pgmlSchema) {
		return function{}, false
	}
	if fn.ambiguous && (len(c.Args) < fn.least || c.Aggregate) {
		return function{}, false
	}
	return fn, true
}

// inPgml reports whether r is a relation of schema pgml. A name without a schema is
// one if PostgresML is known to have it and pgml comes first in search_path.
func inPgml(r parser.Relation, v *View) bool {
	if r.Schema != "" {
		return r.Schema == pgmlSchema
	}
	if r.Name == "" {
		return false
	}
	_, known := relations[r.Name]
	return known && v.searchesFirst(pgmlSchema)
}
