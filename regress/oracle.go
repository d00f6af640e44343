package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/parser"
	"pgshunt/router"
)

// oracle asks PostgreSQL whether what the router takes for a read is one. It has a
// connection to a scratch server and decides as a session on it would, with reads on
// replicas.
type oracle struct {
	conn   *pgconn.PgConn
	policy *router.Policy
	view   router.View
	fleet  *router.Fleet
	sees   *seeing // nil where it decides without a catalog
}

func newOracle(conn *pgconn.PgConn, database string) (*oracle, error) {
	policy, err := router.NewPolicy(router.Config{Reads: "replica"})
	if err != nil {
		return nil, err
	}
	return &oracle{
		conn: conn, policy: policy, view: router.View{User: superuser, Database: database, SearchPath: []string{"public"}},
		fleet: &router.Fleet{Targets: []router.Target{
			{Name: "primary", Healthy: true},
			{Name: "ml1", Replica: true, Healthy: true, Training: true, Inference: true, Reads: true},
		}},
	}, nil
}

// reads reports whether the router by itself sends st to a replica to be read there, and
// as what. Beside inference a user's function is let through where there is no catalog,
// since only replicas can answer and most such functions compute: those are not asked
// about.
func (o *oracle) reads(st *parser.Statement) (router.Class, bool) {
	d := o.policy.Decide(st, &o.view, o.fleet)
	switch {
	case d.Place != router.Replica || d.Rule == router.RuleHint:
		return d.Class, false
	case d.Class == router.Read:
		return d.Class, true
	}
	return d.Class, d.Class != router.Training && d.Class != router.Schema && !callsUsers(st)
}

// callsUsers reports whether st calls a function that is neither pg_catalog's nor
// written as PostgresML's.
func callsUsers(st *parser.Statement) bool {
	for i := range st.Parts {
		for _, c := range st.Parts[i].Calls {
			if !c.Builtin && c.Schema != "pgml" {
				return true
			}
		}
	}
	return false
}

// check runs text in a read-only transaction that is rolled back, and returns what a
// read must not do, "" if it does nothing of the kind. That the statement fails in
// another way is no matter. PostgresML's predict assigns a transaction id although it
// writes nothing, so of inference it is asked only whether it writes.
func (o *oracle) check(ctx context.Context, text string, class router.Class) (effect string, err error) {
	held, err := o.begin(ctx)
	if err != nil {
		return "", err
	}
	failed := o.exec(ctx, text)
	switch o.conn.TxStatus() {
	case 'T':
		if class == router.Read {
			effect, err = o.left(ctx, held)
		}
	case 'I':
		if class == router.Read { // a text with a whole block in it may be inference
			effect = "it ends the transaction"
		}
	}
	if code := sqlState(failed); code == "25006" {
		effect = failed.Error()
	} else if failed != nil && code == "" {
		return "", failed // the connection is lost
	}
	return effect, errors.Join(err, o.exec(ctx, "ROLLBACK"))
}

// begin returns the number of advisory locks that the session holds.
func (o *oracle) begin(ctx context.Context) (held string, err error) {
	results, err := o.conn.Exec(ctx, `BEGIN READ ONLY;
		SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()`).ReadAll()
	if err != nil {
		return "", err
	}
	return string(results[1].Rows[0][0]), nil
}

// left looks for what a read-only transaction may do and a read must not: assign a
// transaction id, as every write does, or take an advisory lock or one on a relation.
func (o *oracle) left(ctx context.Context, held string) (string, error) {
	results, err := o.conn.Exec(ctx, `SELECT CASE
		WHEN pg_current_xact_id_if_assigned() IS NOT NULL THEN 'it assigns a transaction id'
		WHEN (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) <> `+held+` THEN 'it takes an advisory lock'
		WHEN EXISTS (SELECT FROM pg_locks WHERE mode NOT IN ('AccessShareLock', 'ExclusiveLock') AND pid = pg_backend_pid()
			AND relation IS NOT NULL) THEN 'it locks a relation'
		ELSE '' END`).ReadAll()
	if err != nil {
		return "", err
	}
	return string(results[0].Rows[0][0]), nil
}

func (o *oracle) exec(ctx context.Context, sql string) error {
	_, err := o.conn.Exec(ctx, sql).ReadAll()
	return err
}

// follow brings the view up to date after a statement.
func (o *oracle) follow(ctx context.Context) error {
	o.view.InTransaction, o.view.Failed = o.conn.TxStatus() != 'I', o.conn.TxStatus() == 'E'
	if o.view.Failed {
		return nil
	}
	results, err := o.conn.Exec(ctx, `SELECT current_user, current_setting('search_path'),
		(SELECT string_agg(relname, E'\n') FROM pg_class WHERE relpersistence = 't')`).ReadAll()
	if err != nil {
		return fmt.Errorf("search_path: %w", err)
	}
	row := results[0].Rows[0]
	o.view.User = string(row[0])
	if o.sees != nil {
		o.sees.temporary = map[string]bool{}
		for name := range strings.Lines(string(row[2])) {
			o.sees.temporary[strings.TrimSuffix(name, "\n")] = true
		}
	}
	o.view.SearchPath = nil
	for _, name := range parser.SplitNames(string(row[1])) {
		if name == "$user" {
			name = o.view.User
		}
		o.view.SearchPath = append(o.view.SearchPath, name)
	}
	return nil
}

// sqlState is the code of an error that the server reports, else "".
func sqlState(err error) string {
	if e := (*pgconn.PgError)(nil); errors.As(err, &e) {
		return e.Code
	}
	return ""
}
