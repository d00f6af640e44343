package fdw

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/feed"
)

// everybody is who has the mapping where the configuration names nobody; pg_user_mappings
// writes it so as well.
const everybody = "public"

// users are the roles of the replica that get the mapping.
func (w *work) users() []string {
	named := w.run.Replica.FDW.Users
	if len(named) == 0 {
		return []string{everybody}
	}
	all := append([]string{w.run.Target.User()}, named...) // the feed itself reads through it too
	slices.Sort(all)
	return slices.Compact(all)
}

// mappingOptions are the login as SQL options, and the password among them.
func (w *work) mappingOptions() (options map[string]string, password string, err error) {
	settings, err := w.run.Config.SourceSettings(w.run.Replica.Name)
	if err != nil {
		return nil, "", err
	}
	options = map[string]string{"user": settings["user"]}
	if password = settings["password"]; password != "" {
		options["password"] = password
	} else {
		// Then the primary lets the replica in by its address or its certificate, and who
		// may use that is decided here: see doc.go.
		options["password_required"] = "false"
	}
	return options, password, nil
}

// mapping is one user mapping of the feed's server; options are nil where the role may not
// see them.
type mapping struct {
	User    string
	Options map[string]string
}

const mappingsQuery = `SELECT usename, CASE WHEN umoptions IS NOT NULL THEN (SELECT json_object_agg(option_name, option_value) FROM pg_options_to_table(umoptions)) END
	FROM pg_user_mappings WHERE srvname = $1 ORDER BY 1`

func (w *work) mappings(ctx context.Context) ([]mapping, error) {
	rows, err := w.target.Query(ctx, mappingsQuery, w.run.Name)
	if err != nil {
		return nil, w.failed("look for user mappings", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[mapping])
	if err != nil {
		return nil, w.failed("look for user mappings", err)
	}
	return all, nil
}

// unmapped are the users whose mapping is missing, or another one, or cannot be seen.
func (w *work) unmapped(ctx context.Context) ([]string, error) {
	want, _, err := w.mappingOptions()
	if err != nil {
		return nil, err
	}
	have, err := w.mappings(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(w.users(), func(user string) bool {
		return slices.ContainsFunc(have, func(m mapping) bool { return m.User == user && m.Options != nil && maps.Equal(m.Options, want) })
	}), nil
}

// quoteUser writes a role of a mapping as SQL.
func quoteUser(user string) string {
	if user == everybody {
		return "PUBLIC"
	}
	return feed.Quote("", user)
}

// mapUsers makes the user mappings that are missing, and takes those away that the feed made
// for roles that the configuration no longer names. The server's log is quiet already.
func (w *work) mapUsers(ctx context.Context) error {
	options, password, err := w.mappingOptions()
	if err != nil {
		return err
	}
	missing, err := w.unmapped(ctx)
	if err != nil {
		return err
	}
	have, err := w.mappings(ctx)
	if err != nil {
		return err
	}
	server := feed.Quote("", w.run.Name)
	for _, user := range w.users() {
		step := feed.Step{
			On: w.run.Target, What: "map " + quoteUser(user) + " to role " + options["user"] + " of the primary", Secrets: []string{password},
			SQL: fmt.Sprintf("CREATE USER MAPPING FOR %s SERVER %s OPTIONS (%s)", quoteUser(user), server, list(options)),
		}
		if !slices.Contains(missing, user) {
			w.run.Done(step)
			continue
		}
		if slices.ContainsFunc(have, func(m mapping) bool { return m.User == user }) {
			drop := feed.Step{On: w.run.Target, What: "drop the old mapping of " + quoteUser(user), SQL: fmt.Sprintf("DROP USER MAPPING FOR %s SERVER %s", quoteUser(user), server)}
			if err := w.run.Do(ctx, w.target, drop); err != nil {
				return err
			}
		}
		if err := w.run.DoSecretly(ctx, w.target, step); err != nil {
			return err
		}
	}
	for _, m := range have {
		if slices.Contains(w.users(), m.User) || m.User != everybody && m.Options["user"] != options["user"] {
			continue // a role may have a mapping of its own, made by hand
		}
		drop := feed.Step{On: w.run.Target, What: "drop the mapping of " + quoteUser(m.User), SQL: fmt.Sprintf("DROP USER MAPPING FOR %s SERVER %s", quoteUser(m.User), server)}
		if err := w.run.Do(ctx, w.target, drop); err != nil {
			return err
		}
	}
	return nil
}

// nothing is a table that nobody has: to import it makes the replica log in to the primary
// and look, and brings nothing.
const nothing = `IMPORT FOREIGN SCHEMA pg_catalog LIMIT TO ("pgshunt looks for nothing") FROM SERVER %s INTO %s`

// ordinary is a role that every server has and that is no superuser; postgres_fdw asks more
// of such, as that the primary demands a password.
const ordinary = "pg_monitor"

// probe has the replica log in to the primary, as an ordinary role where that can be done. It
// leaves nothing.
func (w *work) probe(ctx context.Context) error {
	step := feed.Step{On: w.run.Target, What: "log in to the primary from the replica"}
	if w.run.Print {
		return nil
	}
	server := feed.Quote("", w.run.Name)
	const schema = feed.JournalSchema
	sql := "SAVEPOINT probe; " + fmt.Sprintf(nothing, server, schema)
	if w.super {
		role := ordinary
		if named := w.run.Replica.FDW.Users; len(named) > 0 {
			role = feed.Quote("", named[0])
		}
		sql = fmt.Sprintf("SAVEPOINT probe; GRANT USAGE, CREATE ON SCHEMA %s TO %s; GRANT USAGE ON FOREIGN SERVER %s TO %[2]s; SET LOCAL ROLE %[2]s; ", schema, role, server) +
			fmt.Sprintf(nothing, server, schema)
	}
	step.SQL = sql + "; ROLLBACK TO probe"
	err := w.run.Do(ctx, w.target, step)
	var told *feed.Error
	if pg := (*pgconn.PgError)(nil); errors.As(err, &told) && errors.As(err, &pg) {
		told.Next = advice(pg.Code, w.run)
	}
	return err
}

// advice says what to do about a login that has failed, by SQLSTATE.
func advice(code string, run *feed.Run) string {
	switch code {
	case "2F003": // password_required
		return "the primary lets the replica in without asking for the password, which ordinary roles may not make use of: have its pg_hba.conf ask for scram-sha-256, " +
			"or leave the password of source out, and the mapping will say password_required 'false'"
	case "08001":
		return "nothing has been changed; see whether the replica reaches the primary so, or set replicas[].source of " + run.Replica.Name
	}
	return "nothing has been changed"
}
