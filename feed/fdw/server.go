package fdw

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// PostgreSQL's versions, as server_version_num, that brought what is used here.
const (
	version14 = 140000
	version16 = 160000
)

const wrapper = "postgres_fdw"

// serverOptions are those of the foreign server that the feed wants. Others, that somebody
// has added by hand, are left alone.
func (w *work) serverOptions(ctx context.Context) (map[string]string, error) {
	options, err := w.run.SourceSettings(w.version)
	if err != nil {
		return nil, err
	}
	delete(options, "user")
	delete(options, "password")
	cfg := &w.run.Replica.FDW
	if strings.Contains(options["host"], ",") && options["target_session_attrs"] == "" {
		options["target_session_attrs"] = "read-write" // the primary, wherever it is
	}
	// A role that row-level security would show a part of a table gets an error; nothing that
	// goes through here writes.
	session := "-c row_security=off -c default_transaction_read_only=on"
	if limit := time.Duration(cfg.StatementTimeout); limit > 0 {
		session += " -c statement_timeout=" + strconv.FormatInt(max(limit.Milliseconds(), 1), 10)
	}
	options["options"] = strings.TrimSpace(session + " " + options["options"])
	options["application_name"] = w.run.Name
	options["fetch_size"] = strconv.Itoa(cfg.FetchSize)
	options["use_remote_estimate"] = strconv.FormatBool(cfg.UseRemoteEstimate)
	options["updatable"] = "false"
	if w.version >= version14 {
		options["truncatable"] = "false"
		options["async_capable"] = strconv.FormatBool(cfg.Async)
	}
	extensions, err := w.shippable(ctx)
	if err != nil {
		return nil, err
	}
	if extensions != "" {
		options["extensions"] = extensions
	}
	return options, nil
}

const columnExtensionsQuery = `SELECT DISTINCT e.extname, e.extversion FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
	JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid IN (t.oid, t.typelem) AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1`

// shippable names the extensions whose operators may be left to the primary: those that the
// columns' types are of, where both servers have the same version.
func (w *work) shippable(ctx context.Context) (string, error) {
	oids := make([]uint32, len(w.live))
	for i, t := range w.live {
		oids[i] = t.OID
	}
	type extension struct{ Name, Version string }
	rows, err := w.primary.Query(ctx, columnExtensionsQuery, oids)
	if err != nil {
		return "", err
	}
	used, err := pgx.CollectRows(rows, pgx.RowToStructByPos[extension])
	if err != nil {
		return "", &feed.Error{Server: w.run.Primary.Name, Doing: "read the extensions", Err: err}
	}
	rows, err = w.target.Query(ctx, "SELECT extname, extversion FROM pg_extension")
	if err != nil {
		return "", w.failed("read the extensions", err)
	}
	have, err := pgx.CollectRows(rows, pgx.RowToStructByPos[extension])
	if err != nil {
		return "", w.failed("read the extensions", err)
	}
	var both []string
	for _, e := range used {
		if slices.Contains(have, e) {
			both = append(both, e.Name)
		}
	}
	return strings.Join(both, ","), nil
}

// list writes options as SQL, in order of their names, which need no quotes.
func list(options map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(options)) {
		all = append(all, name+" "+feed.Literal(options[name]))
	}
	return strings.Join(all, ", ")
}

const serverQuery = `SELECT f.fdwname, pg_has_role(s.srvowner, 'USAGE'), coalesce(obj_description(s.oid, 'pg_foreign_server'), ''),
	coalesce((SELECT json_object_agg(option_name, option_value) FROM pg_options_to_table(s.srvoptions)), '{}')
	FROM pg_foreign_server s JOIN pg_foreign_data_wrapper f ON f.oid = s.srvfdw WHERE s.srvname = $1`

// foreignServer is what the replica has by the feed's name.
type foreignServer struct {
	wrapper string
	owned   bool
	comment string
	options map[string]string
}

// lookAtServer returns nil where there is none.
func (w *work) lookAtServer(ctx context.Context) (*foreignServer, error) {
	rows, err := w.target.Query(ctx, serverQuery, w.run.Name)
	if err != nil {
		return nil, w.failed("look for the foreign server", err)
	}
	var found *foreignServer
	var s foreignServer
	if _, err = pgx.ForEachRow(rows, []any{&s.wrapper, &s.owned, &s.comment, &s.options}, func() error { found = &s; return nil }); err != nil {
		return nil, w.failed("look for the foreign server", err)
	}
	return found, nil
}

// managed are the options that the feed decides, set or not.
var managed = []string{
	"host", "port", "dbname", "options", "application_name", "fetch_size", "use_remote_estimate", "updatable", "truncatable", "async_capable", "extensions",
	"sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation", "target_session_attrs",
}

// change writes the options of ALTER SERVER that make want of have; "" where nothing is to be changed.
func change(have, want map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		old, exists := have[name]
		switch {
		case !exists:
			all = append(all, "ADD "+name+" "+feed.Literal(want[name]))
		case old != want[name]:
			all = append(all, "SET "+name+" "+feed.Literal(want[name]))
		}
	}
	for _, name := range managed {
		if _, wanted := want[name]; !wanted && have[name] != "" {
			all = append(all, "DROP "+name)
		}
	}
	return strings.Join(all, ", ")
}

// server makes the extension and the foreign server, or brings its options up to date.
func (w *work) server(ctx context.Context) error {
	var have bool
	if err := w.target.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = $1)", wrapper).Scan(&have); err != nil {
		return w.failed("look for the extension", err)
	}
	extension := feed.Step{On: w.run.Target, What: "create extension " + wrapper, SQL: "CREATE EXTENSION " + wrapper + " SCHEMA public"}
	if have {
		w.run.Done(extension)
	} else if err := w.run.Do(ctx, w.target, extension); err != nil {
		return err
	}
	want, err := w.serverOptions(ctx)
	if err != nil {
		return err
	}
	found, err := w.lookAtServer(ctx)
	if err != nil {
		return err
	}
	name := feed.Quote("", w.run.Name)
	step := feed.Step{On: w.run.Target, What: "make foreign server " + w.run.Name, SQL: fmt.Sprintf("CREATE SERVER %s FOREIGN DATA WRAPPER %s OPTIONS (%s); %s", name, wrapper, list(want), w.markSQL())}
	if found == nil {
		return w.run.Do(ctx, w.target, step)
	}
	if err := w.mark(ctx, found); err != nil {
		return err
	}
	changes := change(found.options, want)
	if changes == "" {
		w.run.Done(step)
		return nil
	}
	step.What, step.SQL = "change foreign server "+w.run.Name, fmt.Sprintf("ALTER SERVER %s OPTIONS (%s)", name, changes)
	return w.run.Do(ctx, w.target, step)
}
