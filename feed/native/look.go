package native

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// found is what a server says of itself.
type found struct {
	Service feed.Service
	// Version is server_version_num.
	Version int
	// Standby is set while it is in recovery. System is that of [feed.Server.System].
	Standby bool
	System  string
	// Started and Address tell whether two connections are to one server.
	Started, Address string
	// Available and Installed are the extension's versions on the machine and in the database.
	Available, Installed string
	// Library is set where the installed extension has functions of a library, Preload how
	// that stands with shared_preload_libraries, Libraries what that has.
	Library   bool
	Preload   preloaded
	Libraries string
	// May is set where the role may create the extension.
	May bool
	// Managed are roles and settings that only a service has.
	Managed string
}

type preloaded int

const (
	unknown preloaded = iota // the role may not see the setting
	notLoaded
	loaded
)

const lookQuery = `SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), pg_postmaster_start_time()::text, coalesce(host(inet_server_addr()), '') || ':' || coalesce(inet_server_port(), 0),
	coalesce((SELECT default_version FROM pg_available_extensions WHERE name = $1), ''), coalesce((SELECT extversion FROM pg_extension WHERE extname = $1), ''),
	EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid JOIN pg_proc p ON p.oid = d.objid JOIN pg_language l ON l.oid = p.prolang
		WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = $1 AND l.lanname = 'c'),
	(SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries'),
	(SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR has_database_privilege(current_database(), 'CREATE'),
	coalesce((SELECT string_agg(name, ', ' ORDER BY name) FROM pg_settings WHERE name IN ('rds.extensions', 'azure.extensions', 'cloudsql.logical_decoding', 'alloydb.logical_decoding')), '')`

// look asks a server.
func look(ctx context.Context, server *feed.Server, conn *pgx.Conn) (*found, error) {
	f := new(found)
	var libraries *string
	err := conn.QueryRow(ctx, lookQuery, extension).Scan(&f.Version, &f.Standby, &f.Started, &f.Address, &f.Available, &f.Installed, &f.Library, &libraries, &f.May, &f.Managed)
	if err == nil {
		f.Service, err = feed.ServiceOf(ctx, conn)
	}
	if err != nil {
		return nil, &feed.Error{Server: server.Name, Doing: "look at the server", Err: err}
	}
	if libraries != nil {
		f.Libraries, f.Preload = *libraries, notLoaded
		for name := range strings.SplitSeq(*libraries, ",") {
			if strings.Trim(name, ` "`) == extension {
				f.Preload = loaded
			}
		}
	}
	f.System, err = server.System(ctx, conn)
	return f, err
}

// preload is how the library comes to be loaded at the start.
func preload(f *found) (remedy, note string) {
	value := extension
	if f.Libraries != "" {
		value = f.Libraries + "," + extension
	}
	return f.Service.Set("shared_preload_libraries", value)
}
