package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// bouncer is the PgBouncer that is installed.
type bouncer struct {
	path, version string
	// prepares says that it can pool prepared statements (from 1.21 on). An older one
	// runs them in session mode, where it has nothing to do about them.
	prepares bool
}

// findBouncer looks for PgBouncer, also where root's programs are.
func findBouncer(ctx context.Context) (bouncer, error) {
	path, err := exec.LookPath("pgbouncer")
	if err != nil {
		path = "/usr/sbin/pgbouncer"
		if _, err := os.Stat(path); err != nil {
			return bouncer{}, errors.New("no pgbouncer found; `scripts/install-postgresql pgbouncer` installs it on Debian")
		}
	}
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return bouncer{}, fmt.Errorf("pgbouncer --version: %w", err)
	}
	version, prepares, err := bouncerVersion(string(out))
	return bouncer{path: path, version: version, prepares: prepares}, err
}

// bouncerVersion reads what pgbouncer --version prints.
func bouncerVersion(out string) (version string, prepares bool, err error) {
	line, _, _ := strings.Cut(out, "\n")
	version, ok := strings.CutPrefix(strings.TrimSpace(line), "PgBouncer ")
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); !ok || err != nil {
		return "", false, fmt.Errorf("pgbouncer --version: unexpected output %q", line)
	}
	return version, major > 1 || minor >= 21, nil
}

// startBouncer starts PgBouncer in transaction mode, with a second name for the
// database in session mode.
func (r *rig) startBouncer(ctx context.Context) (*endpoint, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(r.dir, "pgbouncer-")
	if err != nil {
		return nil, err
	}
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
	cred, err := unprivileged()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "pgbouncer.ini")
	for path, text := range map[string]string{
		config: strings.Join(ini, "\n") + "\n", filepath.Join(dir, "users.txt"): fmt.Sprintf("%q \"\"\n", superuser),
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	proc, err := startProcess(filepath.Join(dir, "pgbouncer.log"), cred, r.bouncer.path, config)
	if err != nil {
		return nil, err
	}
	e := &endpoint{name: bouncerName, port: port, proc: proc}
	return e, e.awaitReady(ctx)
}

// unprivileged is the account to run PgBouncer as, which refuses to run as root:
// nil, for our own, unless we are root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
	}
	return nil, errors.New("pgbouncer does not run as root, and there is no user postgres or nobody to run it as")
}
