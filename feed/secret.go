package feed

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// loud are the settings that write statements to the server's log or to its statistics,
// with values at which they do not. Those of modules have them only where the module is loaded.
var loud = []struct {
	name, quiet string
	// heard tells whether at that value what DoSecretly sends would be written down.
	heard func(value string) bool
}{
	// A warning is logged with what was executed. Who may not turn that off executes nothing
	// that warns.
	{"log_min_messages", "error", func(string) bool { return false }},
	// A text that is no DDL is logged at "all" only.
	{"log_statement", "none", func(v string) bool { return v == "all" }},
	{"log_min_duration_statement", "-1", atOnce},
	{"log_min_duration_sample", "-1", atOnce},
	{"log_transaction_sample_rate", "0", func(v string) bool { f, err := strconv.ParseFloat(v, 64); return err != nil || f > 0 }},
	{"auto_explain.log_min_duration", "-1", atOnce},
	// These two look into functions.
	{"pg_stat_statements.track", "none", func(v string) bool { return v == "all" }},
	{"pgaudit.log", "none", func(v string) bool { return v != "" && v != "none" }},
}

// atOnce reports whether a number of milliseconds is so low that what takes a moment takes
// longer; -1 is never.
func atOnce(value string) bool {
	n, err := strconv.Atoi(value)
	return err != nil || n >= 0 && n < 100
}

const codeNotAllowed = "42501"

// Hush has the server write down no statement of conn, as far as the role may decide that,
// for the session. It returns the settings, with their values, by which a secret would be
// written down even by [Run.DoSecretly]. [Server.Speak] undoes it.
func (s *Server) Hush(ctx context.Context, conn *pgx.Conn) (heard []string, err error) {
	for _, l := range loud {
		var value string
		if err := conn.QueryRow(ctx, "SELECT coalesce((SELECT setting FROM pg_settings WHERE name = $1), '')", l.name).Scan(&value); err != nil {
			return nil, &Error{Server: s.Name, Doing: "read the settings of its log", Err: err}
		}
		if value == "" || value == l.quiet {
			continue
		}
		_, err := conn.Exec(ctx, "SET "+l.name+" = '"+l.quiet+"'")
		if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == codeNotAllowed {
			if l.heard(value) {
				heard = append(heard, l.name+" = "+value)
			}
			continue
		}
		if err != nil {
			return nil, &Error{Server: s.Name, Doing: "quiet its log", Err: err}
		}
	}
	return heard, nil
}

// Speak undoes Hush: what follows is written down as the server has it.
func (s *Server) Speak(ctx context.Context, conn *pgx.Conn) error {
	var names []string
	for _, l := range loud {
		names = append(names, l.name)
	}
	var set []string
	err := conn.QueryRow(ctx, "SELECT coalesce(array_agg(name), '{}') FROM pg_settings WHERE name = ANY ($1) AND source = 'session'", names).Scan(&set)
	for _, name := range set {
		if err == nil {
			_, err = conn.Exec(ctx, "RESET "+name)
		}
	}
	if err != nil {
		return &Error{Server: s.Name, Doing: "let its log speak again", Err: err}
	}
	return nil
}

// The statement travels as a parameter and is executed from a setting of the transaction, so
// that no text that the server keeps has the secret: not in pg_stat_activity, not in the log
// at log_statement = ddl, and not in the context of an error.
const (
	hideSQL    = "SELECT set_config('pgshunt.secret', $1, true)"
	executeSQL = `DO $do$ BEGIN
	EXECUTE current_setting('pgshunt.secret');
EXCEPTION WHEN OTHERS THEN
	RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM;
END $do$`
	forgetSQL = "SELECT set_config('pgshunt.secret', '', true)"
)

// DoSecretly is Do for one statement that holds s.Secrets, on a connection in a transaction
// that [Server.Hush] has been called for. It must be one that a function may execute.
func (r *Run) DoSecretly(ctx context.Context, conn *pgx.Conn, s Step) error {
	e := Event{Status: StatusStart, Server: s.On.Name, Step: s.What, SQL: Mask(s.SQL, s.Secrets...)}
	if r.Print {
		e.Status = StatusWould
		r.Tell(e)
		return nil
	}
	if conn.PgConn().TxStatus() != 'T' {
		return fmt.Errorf("BUG: %s without a transaction", s.What)
	}
	r.Tell(e)
	began := time.Now()
	_, err := conn.Exec(ctx, hideSQL, pgx.QueryExecModeExec, s.SQL)
	for _, sql := range []string{executeSQL, forgetSQL} {
		if err == nil {
			_, err = conn.Exec(ctx, sql)
		}
	}
	if err != nil {
		return &Error{Server: s.On.Name, Doing: s.What, Err: err, Next: s.Next}
	}
	e.Status, e.Took = StatusDone, time.Since(began)
	r.Tell(e)
	return nil
}
