package fdw

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// Check returns what stands against the feed. It changes nothing, and does not try whether
// the replica reaches the primary: Apply does that first, and undoes it all if not.
func Check(ctx context.Context, run *feed.Run) ([]feed.Problem, error) {
	w, err := open(ctx, run)
	defer w.close(ctx)
	if err != nil {
		return nil, err
	}
	return w.check(ctx)
}

func (w *work) check(ctx context.Context) ([]feed.Problem, error) {
	var standby bool
	if err := w.target.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby); err != nil {
		return nil, &feed.Error{Server: w.run.Target.Name, Doing: "look at it", Err: err}
	}
	if standby { // what it has is its primary's, and nothing of that can be changed
		return []feed.Problem{{
			Server: w.run.Target.Name, Check: "standby", Blocks: true, What: "it is a standby, on which no foreign table can be made",
			Note: "name the server that it follows in replicas[].url, or another",
		}}, nil
	}
	all := w.selectionProblems()
	for _, look := range []func(context.Context) ([]feed.Problem, error){
		w.sourceProblems, w.effectProblems, w.extensionProblems, w.roleProblems, w.schemaProblems, w.sortProblems, w.copyProblems,
	} {
		found, err := look(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	if w.way != "" && w.way != configs.FeedFDW {
		all = append(all, feed.Problem{
			Server: w.run.Target.Name, Check: "other_feed", Blocks: true, What: "it is fed by " + string(w.way),
			Remedy: "pgshunt feed drop --replica " + w.run.Replica.Name, Note: "with the configuration of that feed",
		})
	}
	return append(all, w.relationProblems()...), nil
}

// selectionProblems are those of what the configuration asks for.
func (w *work) selectionProblems() (all []feed.Problem) {
	fed := feed.Index(w.fed)
	name := w.run.Replica.Name
	if len(w.fed) == 0 {
		all = append(all, feed.Problem{
			Server: w.run.Primary.Name, Check: "tables", Blocks: true, What: "no table is fed by the patterns of " + name,
			Note: "see replicas[].tables, and that the database of primary.url is the right one",
		})
	}
	hot := feed.Index(w.hot)
	for _, table := range slices.Sorted(maps.Keys(w.run.Replica.Where)) {
		if hot[table] != nil {
			continue // a copy may have a part
		}
		all = append(all, feed.Problem{
			Server: name, Check: "where", Blocks: true, What: "a foreign table has all rows of " + table + ", not those that meet a condition",
			Note: "name it in fdw.materialize, make a view of them on the primary and have others read that, or feed the replica by dump or logical",
		})
	}
	for _, table := range slices.Sorted(maps.Keys(w.run.Replica.Columns)) {
		t := fed[table]
		for _, column := range w.run.Replica.Columns[table] {
			if t != nil && t.Column(column) == nil {
				all = append(all, feed.Problem{
					Server: w.run.Primary.Name, Check: "columns", Blocks: true, What: fmt.Sprintf("%s has no column %s, which is to be fed", table, column),
					Note: "see replicas[].columns",
				})
			}
		}
	}
	if w.run.Replica.FDW.Async && w.version < version14 {
		all = append(all, feed.Problem{Server: name, Check: "async", What: "fdw.async does nothing there, since postgres_fdw reads asynchronously from PostgreSQL 14 on"})
	}
	var secured []string
	for _, t := range w.live {
		if t.Security {
			secured = append(secured, t.Plain())
		}
	}
	if len(secured) > 0 {
		all = append(all, feed.Problem{
			Server: name, Check: "row_security", What: "foreign tables have no row-level security, which there is on " + some(secured),
			Note: "they are made, only their owner may read them, and pgshunt sends no reads of them there",
		})
	}
	return all
}

// effectProblems are about what reading does to the primary.
func (w *work) effectProblems(ctx context.Context) (all []feed.Problem, err error) {
	if len(w.live) == 0 {
		return nil, nil
	}
	name := w.run.Primary.Name
	var limit string
	const query = `SELECT coalesce((SELECT c FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) c
		WHERE c LIKE 'idle_in_transaction_session_timeout=%' AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
		AND s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = $1)) ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1),
		(SELECT 'idle_in_transaction_session_timeout=' || reset_val || CASE reset_val WHEN '0' THEN '' ELSE ' ms' END FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'))`
	if err := w.primary.QueryRow(ctx, query, w.run.Source.LoginUser()).Scan(&limit); err != nil {
		return nil, &feed.Error{Server: name, Doing: "read its settings", Err: err}
	}
	if _, value, _ := strings.Cut(limit, "="); value != "0" {
		all = append(all, feed.Problem{
			Server: name, Check: "idle_in_transaction",
			What:   "a training that reads foreign tables and then computes for longer than idle_in_transaction_session_timeout (" + value + ") is lost when it ends",
			Remedy: "ALTER ROLE " + feed.Quote("", w.run.Source.LoginUser()) + " SET idle_in_transaction_session_timeout = 0;",
			Note:   "or train on tables of fdw.materialize",
		})
	}
	return append(all, feed.Problem{
		Server: name, Check: "snapshot",
		What: "a training that reads foreign tables has a transaction open on the primary until it ends, and vacuum keeps what that may still see",
		Note: "for long trainings take pgml.snapshot first and train from the table that it makes, or name the table in fdw.materialize",
	}), nil
}

// extensionProblems are about postgres_fdw and the right to use it.
func (w *work) extensionProblems(ctx context.Context) ([]feed.Problem, error) {
	var available, installed, may, create bool
	var services []string
	err := w.target.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = $1), EXISTS (SELECT FROM pg_extension WHERE extname = $1),
		coalesce((SELECT has_foreign_data_wrapper_privilege(oid, 'USAGE') FROM pg_foreign_data_wrapper WHERE fdwname = $1), false),
		has_database_privilege(current_database(), 'CREATE'),
		ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname IN ('rds_superuser', 'cloudsqlsuperuser', 'azure_pg_admin', 'alloydbsuperuser') AND pg_has_role(oid, 'USAGE'))`,
		wrapper).Scan(&available, &installed, &may, &create, &services)
	if err != nil {
		return nil, w.failed("look for the extension", err)
	}
	role := feed.Quote("", w.run.Target.User())
	var all []feed.Problem
	add := func(check, remedy, note, what string) {
		all = append(all, feed.Problem{Server: w.run.Target.Name, Check: check, Blocks: true, What: what, Remedy: remedy, Note: note})
	}
	grant := "GRANT USAGE ON FOREIGN DATA WRAPPER " + wrapper + " TO " + role + ";"
	switch {
	case !installed && !available:
		add("extension", "", "install PostgreSQL's contrib modules there (Debian has them in postgresql-NN, others in postgresql-contrib)", "extension "+wrapper+" is not installed on that machine")
	case !installed && !w.super && len(services) == 0:
		add("extension", "CREATE EXTENSION "+wrapper+" SCHEMA public; "+grant, "run it as a superuser of that server", "role "+w.run.Target.User()+" may not create extension "+wrapper)
	case installed && !may:
		add("privileges", grant, "", "role "+w.run.Target.User()+" may not make servers of "+wrapper)
	}
	if !create {
		add("privileges", fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s;", feed.Quote("", w.run.Target.Database()), role), "", "role "+w.run.Target.User()+" may not make schemas")
	}
	server, err := w.lookAtServer(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case server == nil:
	case server.wrapper != wrapper:
		add("server", "DROP SERVER "+feed.Quote("", w.run.Name)+" CASCADE;", "with all that reads through it", "there is a foreign server "+w.run.Name+" that is not of "+wrapper)
	case !server.owned:
		all = append(all, w.notOwned())
	default:
		other, err := w.strange(server)
		if err != nil {
			return nil, err
		}
		if other != nil {
			all = append(all, other.problem(w.run.Target))
		}
	}
	return all, nil
}

// notOwned is said of a foreign server of the feed's name that another role owns.
func (w *work) notOwned() feed.Problem {
	return feed.Problem{
		Server: w.run.Target.Name, Check: "server", Blocks: true, What: "the foreign server " + w.run.Name + " is not of role " + w.run.Target.User(),
		Remedy: fmt.Sprintf("ALTER SERVER %s OWNER TO %s;", feed.Quote("", w.run.Name), feed.Quote("", w.run.Target.User())), Note: "run it as a superuser of that server",
	}
}

// roleProblems are about the roles that are mapped, and about the password on its way.
func (w *work) roleProblems(ctx context.Context) ([]feed.Problem, error) {
	var all []feed.Problem
	add := func(check, remedy, note, what string) {
		all = append(all, feed.Problem{Server: w.run.Target.Name, Check: check, Blocks: true, What: what, Remedy: remedy, Note: note})
	}
	for _, user := range w.users() {
		var exists bool
		if err := w.target.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", user).Scan(&exists); err != nil {
			return nil, w.failed("look for role "+user, err)
		}
		if !exists && user != everybody {
			add("users", "CREATE ROLE "+feed.Quote("", user)+" LOGIN;", "or take it out of fdw.users", "there is no role "+user)
		}
	}
	_, password, err := w.mappingOptions()
	if err != nil {
		return nil, err
	}
	missing, err := w.unmapped(ctx)
	if err != nil || len(missing) == 0 {
		return all, err
	}
	if password == "" {
		if !w.super {
			add("password", "", "set replicas[].source.password", "only a superuser may map roles to "+w.run.Source.LoginUser()+" of the primary without a password")
		}
		return all, nil
	}
	heard, err := w.run.Target.Hush(ctx, w.target)
	if err != nil {
		return nil, err
	}
	if len(heard) > 0 {
		role := feed.Quote("", w.run.Target.User())
		name, _, _ := strings.Cut(heard[0], " ")
		add("password_in_log", fmt.Sprintf("ALTER ROLE %s SET %s = %s;", role, name, quietest(name)), "run it as a superuser of that server, and take it back afterwards",
			"the server would write the password of "+w.run.Source.LoginUser()+" down, by "+strings.Join(heard, ", "))
	}
	return all, nil
}

func quietest(setting string) string {
	switch setting {
	case "log_statement", "pgaudit.log", "pg_stat_statements.track":
		return "'none'"
	case "log_transaction_sample_rate":
		return "0"
	}
	return "-1"
}

// schemaProblems are about schemas of the replica that are there already.
func (w *work) schemaProblems(ctx context.Context) ([]feed.Problem, error) {
	var schemas []string
	for _, t := range w.fed {
		if !slices.Contains(schemas, t.Schema) {
			schemas = append(schemas, t.Schema)
		}
	}
	rows, err := w.target.Query(ctx, "SELECT nspname FROM pg_namespace WHERE nspname = ANY ($1) AND NOT (has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE')) ORDER BY 1", schemas)
	if err != nil {
		return nil, w.failed("look at its schemas", err)
	}
	closed, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, w.failed("look at its schemas", err)
	}
	var all []feed.Problem
	for _, schema := range closed {
		all = append(all, feed.Problem{
			Server: w.run.Target.Name, Check: "privileges", Blocks: true, What: "role " + w.run.Target.User() + " may make nothing in schema " + schema,
			Remedy: fmt.Sprintf("GRANT USAGE, CREATE ON SCHEMA %s TO %s;", feed.Quote("", schema), feed.Quote("", w.run.Target.User())),
		})
	}
	return all, nil
}

// relationProblems are about what has the names of fed tables already.
func (w *work) relationProblems() (all []feed.Problem) {
	for _, t := range w.live {
		have := w.have[t.Plain()]
		if have == nil || have.ours(w.run.Name) || w.copied[t.Plain()] != nil {
			continue
		}
		drop, what := "DROP TABLE "+t.Qualified()+";", "a table"
		switch have.kind {
		case 'f':
			drop, what = "DROP FOREIGN TABLE "+t.Qualified()+";", "a foreign table of server "+have.server
		case 'v':
			drop, what = "DROP VIEW "+t.Qualified()+";", "a view"
		case 'm':
			drop, what = "DROP MATERIALIZED VIEW "+t.Qualified()+";", "a materialized view"
		case 'r', 'p':
		default:
			drop, what = "", "another object"
		}
		all = append(all, feed.Problem{
			Server: w.run.Target.Name, Check: "relation", Blocks: true, What: t.Plain() + " is " + what + " there, and would have to make way for a foreign table",
			Remedy: drop, Note: "or leave it out of tables",
		})
	}
	return all
}
