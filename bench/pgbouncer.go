package main

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// bouncer is the PgBouncer that is installed.
type bouncer struct {
	program
	// prepares says that it can pool prepared statements (from 1.21 on). An older one
	// runs them in session mode, where it has nothing to do about them.
	prepares bool
}

var bouncerVersion = regexp.MustCompile(`^PgBouncer (\d\S*)`)

func findBouncer(ctx context.Context) (bouncer, error) {
	p, err := findProgram(ctx, "pgbouncer", "pgbouncer", "--version", bouncerVersion)
	if err != nil {
		return bouncer{}, err
	}
	prepares, err := poolsPrepared(p.version)
	return bouncer{p, prepares}, err
}

// poolsPrepared reports whether that version of PgBouncer can pool prepared statements.
func poolsPrepared(version string) (bool, error) {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return false, fmt.Errorf("pgbouncer: unexpected version %q", version)
	}
	return major > 1 || minor >= 21, nil
}

// startBouncer starts PgBouncer in transaction mode, with a second name for the
// database in session mode.
func (r *rig) startBouncer(ctx context.Context) (*endpoint, error) {
	return r.startPeer(ctx, bouncerName, r.bouncer.program, func(dir string, port int) (map[string]string, []string) {
		target := fmt.Sprintf("host=127.0.0.1 port=%d dbname=%s", r.server.Port, database)
		ini := []string{
			"[databases]",
			database + " = " + target,
			sessionDatabase + " = " + target + " pool_mode=session",
			"[pgbouncer]",
			"listen_addr = 127.0.0.1",
			fmt.Sprint("listen_port = ", port),
			"unix_socket_dir =",
			"auth_type = trust",
			"auth_file = " + filepath.Join(dir, "users.txt"),
			"pool_mode = transaction",
			fmt.Sprint("default_pool_size = ", poolSize),
			fmt.Sprint("max_client_conn = ", maxClients),
			"ignore_startup_parameters = extra_float_digits",
			"log_connections = 0",
			"log_disconnections = 0",
			"log_stats = 0",
		}
		if r.bouncer.prepares {
			ini = append(ini, "max_prepared_statements = 200")
		}
		return map[string]string{
			"pgbouncer.ini": strings.Join(ini, "\n") + "\n",
			"users.txt":     fmt.Sprintf("%q \"\"\n", superuser),
		}, []string{filepath.Join(dir, "pgbouncer.ini")}
	})
}
