// Package pgml is the PostgresML stand-in: an extension named pgml, in SQL and
// PL/pgSQL alone, with the catalogue, signatures and observable behaviour of
// PostgresML 2.10.0 and small but real models. README.md says what it mirrors.
//
// The directory is named testdata since no release ships it; it is imported
// explicitly by the test harness and by `pgshunt demo`.
package pgml

import (
	"bytes"
	"embed"
	"fmt"

	"pgshunt/testdata/datasets"
)

// Version is the extension version that the stand-in has, after the PostgresML
// release that it mirrors.
const Version = "2.10.0"

//go:embed pgml.control *.sql
var source embed.FS

// scripts are the parts of the extension script, in the order in which their
// objects depend on each other.
var scripts = []string{
	"catalog.sql", "numeric.sql", "metrics.sql", "info.sql",
	"snapshot.sql", "deploy.sql", "predict.sql", "predict_api.sql", "train.sql",
	"text.sql", "transform.sql", "vector.sql", "dataset.sql",
}

// Files are the extension's files by name, as they belong in a server's
// extension directory (cluster.Config.Extensions).
func Files() map[string][]byte {
	var script bytes.Buffer
	for _, name := range scripts {
		fmt.Fprintf(&script, "-- %s\n%s\n", name, read(name))
	}
	fmt.Fprintf(&script, `-- testdata/datasets
CREATE FUNCTION pgml_standin.dataset_csv(name text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT CASE $1
    WHEN 'diabetes' THEN '%s'
    WHEN 'iris' THEN '%s'
END $$;
`, datasets.Diabetes, datasets.Iris)
	return map[string][]byte{
		"pgml.control":              []byte(read("pgml.control")),
		"pgml--" + Version + ".sql": script.Bytes(),
	}
}

func read(name string) string {
	b, err := source.ReadFile(name)
	if err != nil {
		panic("BUG: " + err.Error()) // embedded, so only a wrong name can be the cause
	}
	return string(b)
}
