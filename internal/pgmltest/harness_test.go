package pgmltest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
	"pgshunt/testdata/datasets"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const urlEnv = "PGSHUNT_TEST_PGML_URL"

// real says that a real PostgresML server is under test.
func real() bool { return os.Getenv(urlEnv) != "" }

func serverURL(t *testing.T) string {
	t.Helper()
	if real() {
		return os.Getenv(urlEnv)
	}
	return pgtest.SharedReplica(t).URL("postgres", "postgres")
}

// session is a connection and the messages that came over it.
type session struct {
	*pgx.Conn
	t        *testing.T
	messages []string // "INFO: text", in order
}

func open(t *testing.T) *session {
	t.Helper()
	s := &session{t: t}
	cfg, err := pgx.ParseConfig(serverURL(t))
	if err != nil {
		t.Fatal(err)
	}
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		s.messages = append(s.messages, n.Severity+": "+n.Message)
	}
	// No cached statements: PostgreSQL keeps the answer of an IMMUTABLE call with
	// constants in the plan (TestAPreparedStatementKeepsAConstantAnswer).
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	if s.Conn, err = pgx.ConnectConfig(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func (s *session) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// fails runs sql, which must end in an error, and returns it.
func (s *session) fails(sql string, args ...any) *pgconn.PgError {
	s.t.Helper()
	_, err := s.Exec(s.t.Context(), sql, args...)
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		s.t.Fatalf("%s: got %v, want an error of the server", sql, err)
	}
	return pgErr
}

// value is the single value that a query gives.
func value[T any](s *session, sql string, args ...any) T {
	s.t.Helper()
	var v T
	if err := s.QueryRow(s.t.Context(), sql, args...).Scan(&v); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// column is the single column that a query gives.
func column[T any](s *session, sql string, args ...any) []T {
	s.t.Helper()
	rows, err := s.Query(s.t.Context(), sql, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	vs, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return vs
}

// shape is a result's column names, and its rows as text.
func (s *session) shape(sql string, args ...any) (names string, rows []string) {
	s.t.Helper()
	r, err := s.Query(s.t.Context(), sql, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	defer r.Close()
	var all []string
	for _, f := range r.FieldDescriptions() {
		all = append(all, f.Name)
	}
	for r.Next() {
		vs, err := r.Values()
		if err != nil {
			s.t.Fatal(err)
		}
		var row []string
		for _, v := range vs {
			row = append(row, fmt.Sprint(v))
		}
		rows = append(rows, strings.Join(row, "|"))
	}
	if err := r.Err(); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(all, " "), rows
}

var (
	names atomic.Int64
	run   = time.Now().UnixNano() // a real server keeps what earlier runs left
)

// fresh is a name for a project, table or role of this test alone.
func fresh() string { return fmt.Sprintf("t%d_%d", run, names.Add(1)) }

// load makes a table of a dataset in schema public and returns its name. Its
// rows are in the dataset's order.
func load(t *testing.T, s *session, text string) string {
	t.Helper()
	name := fresh()
	data := datasets.Parse(text)
	var columns []string
	var rows [][]any
	for _, n := range data.Names {
		columns = append(columns, pgx.Identifier{n}.Sanitize()+" real")
	}
	for r, x := range data.X {
		var row []any
		for _, v := range x {
			row = append(row, float32(v))
		}
		rows = append(rows, append(row, float32(data.Y[r])))
	}
	s.exec(fmt.Sprintf("CREATE TABLE public.%s (%s)", name, strings.Join(columns, ", ")))
	afterwards(t, "DROP TABLE public."+name+" CASCADE")
	if _, err := s.CopyFrom(t.Context(), pgx.Identifier{"public", name}, data.Names, pgx.CopyFromRows(rows)); err != nil {
		t.Fatal(err)
	}
	return name
}

// afterwards runs sql at the test's end, over a connection of its own.
func afterwards(t *testing.T, sql string) {
	t.Cleanup(func() {
		ctx := context.Background() // the test's own is over
		c, err := pgx.Connect(ctx, serverURL(t))
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close(ctx)
		if _, err := c.Exec(ctx, sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	})
}

// trained makes a project with one deployed linear regression over the diabetes
// table and returns both names.
func trained(t *testing.T, s *session) (project, table string) {
	t.Helper()
	project, table = fresh(), load(t, s, datasets.Diabetes)
	s.exec("SELECT * FROM pgml.train($1, 'regression', $2, 'target', test_sampling => 'last')", project, table)
	return project, table
}

// features is a table's feature columns as the array that predict takes.
const (
	diabetesFeatures = "ARRAY[age, sex, bmi, bp, s1, s2, s3, s4, s5, s6]"
	irisFeatures     = `ARRAY["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]`
)
