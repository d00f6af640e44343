package proxy_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/pgtest"
	"pgshunt/router"
)

// TestTrainingByParameters: the project and the relation that a training reads may
// come with Bind, as text or in binary; the catalog is asked about them then.
func TestTrainingByParameters(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	db := primary.NewDatabase(t)
	other := replica.NewDatabase(t)
	replica.ExecIn(t, other, "CREATE TABLE houses AS SELECT n::real AS rooms, 3 * n::real AS price FROM generate_series(1, 20) n")
	f := start(t, setup{replicas: []*pgtest.Server{replica}, replicaDatabase: other})
	f.server.SetFleet(&router.Fleet{
		Targets: []router.Target{{Name: "primary", Healthy: true}, {Name: "ml1", Replica: true, Healthy: true, Training: true, Inference: true}},
		Catalogs: map[string]*router.Catalog{db: catalogOf(t,
			[]string{"flats", "houses"}, []string{"houses"})},
	})
	const train = "SELECT project FROM pgml.train($1, 'regression', $2, 'price')"
	oid := binary.BigEndian.AppendUint32(nil, 16385)
	const oidText, oidRegclass = 25, 2205
	for _, test := range []struct {
		name, sql string
		relation  []byte
		types     []uint32
		formats   []int16
		want      string
	}{
		{"text", train, []byte("public.houses"), nil, nil, "<nil>"},
		{"binary", train, []byte("houses"), []uint32{oidText, oidText}, []int16{1}, "<nil>"},
		{"four letters", train, []byte("flat"), nil, []int16{0, 1}, "XX000"}, // unknown to all: the replica's own error
		{"missing", train, []byte("flats"), nil, nil, "55000"},
		{"missing, binary", train, []byte("public.flats"), nil, []int16{1, 1}, "55000"},
		{"regclass", strings.Replace(train, "$2", "$2::regclass::text", 1), oid, []uint32{oidText, oidRegclass}, []int16{0, 1}, "0A000"},
		{"oid of no given type", strings.Replace(train, "$2", "$2::regclass::text", 1), oid, nil, []int16{0, 1}, "0A000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn := pgtest.Connect(t, f.url("postgres", db))
			r := conn.PgConn().ExecParams(t.Context(), test.sql, [][]byte{[]byte("by parameters"), test.relation}, test.types, test.formats, nil).Read()
			if got := code(r.Err); got != test.want {
				t.Errorf("answered %v, expected SQLSTATE %q", r.Err, test.want)
			}
			var alive int
			if err := conn.QueryRow(t.Context(), "SELECT 1", pgx.QueryExecModeSimpleProtocol).Scan(&alive); err != nil {
				t.Errorf("the session afterwards: %v", err)
			}
		})
	}
}

// catalogOf is the catalog of a primary and one replica that have those tables.
func catalogOf(t *testing.T, primary, replica []string) *router.Catalog {
	t.Helper()
	source := func(target int, names []string) router.Source {
		return router.Source{Target: target, Relations: func(yield func(router.RelationFacts, error) bool) {
			for _, name := range names {
				if !yield(router.RelationFacts{Schema: "public", Name: name, Columns: "id integer"}, nil) {
					return
				}
			}
		}}
	}
	c, err := router.NewCatalog(source(0, primary), source(1, replica))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
