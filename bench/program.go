package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// program is a peer that is installed.
type program struct{ path, version string }

// findProgram looks for a peer by name, also where root's programs are, and asks it
// for its version, which pattern finds in what it says. Its Debian package is pkg.
func findProgram(ctx context.Context, name, pkg, flag string, pattern *regexp.Regexp) (program, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name
		if _, err := os.Stat(path); err != nil {
			return program{}, fmt.Errorf("no %s found; `scripts/install-postgresql %s` installs it on Debian", name, pkg)
		}
	}
	out, err := exec.CommandContext(ctx, path, flag).CombinedOutput()
	if err != nil {
		return program{}, fmt.Errorf("%s %s: %w", name, flag, err)
	}
	version, err := versionIn(string(out), pattern)
	if err != nil {
		return program{}, fmt.Errorf("%s %s: %w", name, flag, err)
	}
	return program{path, version}, nil
}

// versionIn returns the first group of pattern.
func versionIn(out string, pattern *regexp.Regexp) (string, error) {
	match := pattern.FindStringSubmatch(out)
	if match == nil {
		line, _, _ := strings.Cut(out, "\n")
		return "", fmt.Errorf("unexpected output %q", line)
	}
	return match[1], nil
}

// startPeer writes a peer's configuration files into a directory of its own and
// starts it there, as another user than root. configure is given the directory and the
// port, and returns the text of each file and the arguments.
func (r *rig) startPeer(ctx context.Context, name string, p program, configure func(dir string, port int) (map[string]string, []string)) (*endpoint, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cred, err := unprivileged()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(r.dir, name+"-")
	if err != nil {
		return nil, err
	}
	if cred != nil {
		if err := os.Chown(dir, int(cred.Uid), int(cred.Gid)); err != nil {
			return nil, err
		}
	}
	files, args := configure(dir, port)
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	proc, err := startProcess(filepath.Join(dir, "log"), cred, p.path, args...)
	if err != nil {
		return nil, err
	}
	e := &endpoint{name: name, port: port, proc: proc}
	return e, e.awaitReady(ctx)
}

// unprivileged is the account to run peers as, of which PgBouncer refuses to run as
// root: nil, for our own, unless we are root.
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
