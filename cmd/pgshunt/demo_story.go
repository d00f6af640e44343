package main

import (
	"context"

	"pgshunt/testdata/datasets"
)

// demoStory is what the demo tells. The project 'diabetes' has its home on ml1 and
// 'iris' on ml2 (router.HomeOf): that follows from their names.
func demoStory() []demoStep {
	var story []demoStep
	for _, chapter := range [][]demoStep{
		demoServers, demoCreate, demoFill, demoTrain, demoPredict, demoTransaction, demoBoundaries,
	} {
		story = append(story, chapter...)
	}
	return story
}

// features are the columns of patients that the model learns from, in order.
const features = "age, sex, bmi, bp, s1, s2, s3, s4, s5, s6"

// demoView is what the first model learns from.
const demoView = "CREATE VIEW patient_features AS SELECT " + features + ", progression FROM patients"

var demoServers = []demoStep{
	{
		chapter: "What is where",
		say: "Everything below goes through one psql over one connection to pgshunt.\n" +
			"After each answer: the server that ran it, how long it took there, and why it went there.",
		sql: "SELECT current_setting('server_version') AS version, current_setting('port') AS port;",
		on:  "primary", rows: 1,
	},
	{
		say: "\nThe primary has no pgml. The same connection has it all the same. (It says itself that it is a stand-in.)",
		sql: "SELECT pgml.version();",
		on:  "ml1", rows: 1, shows: []string{"stand-in"},
	},
}

var demoCreate = []demoStep{
	{
		chapter: "Create tables",
		say:     "Schema changes and writes are the primary's.",
		sql: "CREATE TABLE patients (\n" +
			"    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n" +
			"    age real, sex real, bmi real, bp real, s1 real, s2 real, s3 real, s4 real, s5 real, s6 real,\n" +
			"    progression real);",
		on: "primary",
	},
	{
		say: "\nA model learns from every column of a relation but the label, so a view leaves out the id.",
		sql: demoView + ";",
		on:  "primary",
	},
	{
		sql: "CREATE TABLE flowers (sepal_length real, sepal_width real, petal_length real, petal_width real, species int);",
		on:  "primary",
	},
	{
		sql: "CREATE TABLE visits (id int PRIMARY KEY, patient int REFERENCES patients, doctor text, note text, forecast real);",
		on:  "primary",
	},
	{
		chapter: "Feed the PostgresML servers",
		say: "What stands between these tables and logical replication, `pgshunt feed plan` names, with the statement that\n" +
			"helps: nothing tells the rows of flowers apart.",
		sql: "ALTER TABLE flowers REPLICA IDENTITY FULL;",
		on:  "primary",
	},
	{
		say: "\nOne command sets the feed up on both servers; run again, it would find everything done.",
		do:  func(ctx context.Context, f *demoFleet, p *demoPage) error { return f.feed(ctx, p) },
	},
}

var demoFill = []demoStep{
	{
		chapter: "Fill them",
		say:     "Real data: 442 diabetes patients (Efron et al. 2004; values centred and scaled) and Fisher's 150 irises (1936).",
		sql:     "COPY patients (" + features + ", progression) FROM STDIN (FORMAT csv, HEADER);",
		data:    datasets.Diabetes, source: "testdata/datasets/diabetes.csv follows",
		on: "primary", rows: 442,
	},
	{
		sql:  "COPY flowers FROM STDIN (FORMAT csv, HEADER);",
		data: datasets.Iris, source: "testdata/datasets/iris.csv follows",
		on: "primary", rows: 150,
	},
	{
		sql: "INSERT INTO visits (id, patient, doctor) SELECT n, n * 7, (ARRAY['Weber', 'Okafor', 'Lind'])[n % 3 + 1] FROM generate_series(1, 60) n;",
		on:  "primary", rows: 60,
	},
	{do: func(ctx context.Context, f *demoFleet, p *demoPage) error { return f.caughtUp(ctx, p) }},
}

var demoTrain = []demoStep{
	{
		chapter: "Train",
		say:     "Training reads a relation, fits a model and deploys it: work that a production server should not do.",
		sql: "SELECT * FROM pgml.train('diabetes', task => 'regression',\n" +
			"    relation_name => 'patient_features', y_column_name => 'progression', algorithm => 'linear');",
		on: "ml1", rows: 1, shows: []string{"INFO:", "linear"},
	},
	{
		say: "\nEach project has one home among the PostgresML servers. That of 'iris' is the other one.",
		sql: "SELECT * FROM pgml.train('iris', task => 'classification',\n" +
			"    relation_name => 'flowers', y_column_name => 'species', algorithm => 'linear');",
		on: "ml2", rows: 1, shows: []string{"INFO:", "linear"},
	},
}

var demoPredict = []demoStep{
	{
		chapter: "Predict, with live tables",
		say:     "A join of the application's tables with the model: the tables are the fed copies beside it.",
		sql: "SELECT v.doctor, p.id AS patient, p.progression AS measured,\n" +
			"       round(pgml.predict('diabetes', ARRAY[p.age, p.sex, p.bmi, p.bp, p.s1, p.s2, p.s3, p.s4, p.s5, p.s6])::numeric) AS predicted\n" +
			"FROM visits v JOIN patients p ON p.id = v.patient\n" +
			"ORDER BY predicted DESC LIMIT 5;",
		on: "ml1", rows: 5,
	},
	{
		say: "\nThe model of 'iris' is on ml2, where it was trained, and so is its prediction.",
		sql: "SELECT species, pgml.predict('iris', ARRAY[sepal_length, sepal_width, petal_length, petal_width]) AS predicted, count(*)\n" +
			"FROM flowers GROUP BY 1, 2 ORDER BY 1, 2;",
		on: "ml2", rows: anyRows,
	},
	{
		say: "\nEach PostgresML server lists the models of its own. A hint names the server; without it, this would be ml1's list.",
		sql: "/*+ pgshunt: replica:ml2 */ SELECT name, task, algorithm, runtime FROM pgml.overview;",
		on:  "ml2", rows: 1, shows: []string{"iris"},
	},
	{
		say: "\nPlans come from where the statement would run.",
		sql: "EXPLAIN (COSTS off)\n" +
			"SELECT pgml.predict('diabetes', ARRAY[" + features + "]) FROM patients WHERE id = 42;",
		on: "ml1", rows: anyRows, shows: []string{"patients_pkey"},
	},
}

var demoTransaction = []demoStep{
	{
		chapter: "A transaction with a prediction in it",
		say:     "The transaction is the primary's. The prediction runs beside it, and its value goes into the write.",
		sql:     "BEGIN;",
		on:      "primary",
	},
	{
		sql: "INSERT INTO visits (id, patient, doctor) VALUES (61, 42, 'Weber');",
		on:  "primary", rows: 1,
	},
	{
		sql:   "SELECT pgml.predict('diabetes', ARRAY[" + features + "]) AS forecast FROM patients WHERE id = 42 \\gset",
		after: "\\echo forecast = :forecast",
		on:    "ml1", rows: 1, shows: []string{"forecast = "},
	},
	{
		sql: "UPDATE visits SET forecast = :forecast WHERE id = 61;",
		on:  "primary", rows: 1,
	},
	{
		sql: "COMMIT;",
		on:  "primary",
	},
	{
		sql: "SELECT id, patient, doctor, forecast FROM visits WHERE forecast IS NOT NULL;",
		on:  "primary", rows: 1, shows: []string{"Weber"},
	},
	{
		say: "\nThe PostgresML servers have the visit a moment after the commit:",
		do:  func(ctx context.Context, f *demoFleet, p *demoPage) error { return f.caughtUp(ctx, p) },
	},
	{
		sql: "SELECT v.id, v.forecast, pgml.predict('diabetes', ARRAY[" + features + "]) AS again\n" +
			"FROM visits v JOIN patients p ON p.id = v.patient WHERE v.forecast IS NOT NULL;",
		on: "ml1", rows: 1, shows: []string{"61"},
	},
}

var demoBoundaries = []demoStep{
	{
		chapter: "Where the line runs",
		say:     "A plain read is the primary's, unless routing.reads says otherwise.",
		sql:     "SELECT count(*), round(avg(progression)) AS average FROM patients;",
		on:      "primary", rows: 1, shows: []string{"442"},
	},
	{
		say: "\nA string that mentions pgml.train( is not a call: pgshunt reads SQL with PostgreSQL's own grammar.",
		sql: "UPDATE visits SET note = 'run pgml.train(''diabetes'') again tonight' WHERE id = 61;",
		on:  "primary", rows: 1, quotes: true,
	},
	{
		say: "\nA write that calls pgml for its rows would need both servers at once. This version refuses it and says what to do.",
		sql: "UPDATE visits v SET forecast = pgml.predict('diabetes', ARRAY[" + features + "]) FROM patients p WHERE p.id = v.patient;",
		on:  "", sqlstate: "0A000", shows: []string{"DETAIL:", "HINT:"},
	},
	{
		say: "\nThe session goes on after it.",
		sql: "SELECT count(*) AS visits FROM visits;",
		on:  "primary", rows: 1, shows: []string{"61"},
	},
}
