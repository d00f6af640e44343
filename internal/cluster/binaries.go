package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// BinEnv names the environment variable that overrides where [Find] looks.
const BinEnv = "PGSHUNT_PGBIN"

// Side is what a server is for, where its installation may be another than that of the
// servers it works with: the variable BinEnv_SIDE comes before BinEnv then.
type Side string

// The sides of pgshunt: the application's server, and those that have PostgresML.
const (
	PrimarySide Side = "PRIMARY"
	ReplicaSide Side = "REPLICA"
)

// override is what the environment says about the side, and the variable that says it.
func (s Side) override() (name, dir string) {
	if s != "" {
		name = BinEnv + "_" + string(s)
		if dir = os.Getenv(name); dir != "" {
			return name, dir
		}
	}
	return BinEnv, os.Getenv(BinEnv)
}

// Binaries is one installation of PostgreSQL's server programs.
type Binaries struct {
	Dir     string // holds postgres and initdb
	Version string // as `postgres --version` prints it

	share  string // pg_config --sharedir, of where Dir is now
	pkglib string // pg_config --pkglibdir, likewise
}

// Find returns the PostgreSQL installation to use for a side, "" for no side in particular:
// $PGSHUNT_PGBIN_PRIMARY or $PGSHUNT_PGBIN_REPLICA where it is set, else
// $PGSHUNT_PGBIN (nothing else is tried then), else what `pg_config --bindir` names, else
// the newest below /usr/lib/postgresql, else the directory of the postgres on
// PATH. The error says what to install.
func Find(ctx context.Context, side Side) (*Binaries, error) {
	if name, dir := side.override(); dir != "" {
		if !hasServer(dir) {
			return nil, fmt.Errorf("%s=%s holds no postgres and initdb", name, dir)
		}
		return inspect(ctx, dir)
	}
	for _, dir := range candidates(ctx) {
		if hasServer(dir) {
			return inspect(ctx, dir)
		}
	}
	return nil, errors.New("no PostgreSQL server binaries (postgres, initdb) found; install them " +
		"(Debian, Ubuntu: apt install postgresql; Fedora: dnf install postgresql-server postgresql-server-devel; " +
		"macOS: brew install postgresql) or set " + BinEnv + " to the directory that holds them")
}

func candidates(ctx context.Context) []string {
	var dirs []string
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	versioned, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(versioned, func(a, b string) int { return cmp.Compare(majorOf(b), majorOf(a)) })
	dirs = append(dirs, versioned...)
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	return dirs
}

// majorOf reads 15 from /usr/lib/postgresql/15/bin; what is no number sorts last.
func majorOf(bindir string) int {
	n, err := strconv.Atoi(filepath.Base(filepath.Dir(bindir)))
	if err != nil {
		return -1
	}
	return n
}

func hasServer(dir string) bool {
	for _, name := range []string{"postgres", "initdb"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

func inspect(ctx context.Context, dir string) (*Binaries, error) {
	b := &Binaries{Dir: dir}
	version, err := exec.CommandContext(ctx, b.path("postgres"), "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", b.path("postgres"), err)
	}
	b.Version = strings.TrimSpace(string(version))

	if b.share, b.pkglib, err = layout(ctx, dir); err != nil {
		return nil, err
	}
	return b, nil
}

// layout asks pg_config for the share and library directories of the programs in dir. Debian's
// may be a script that knows only where its package belongs, whatever tree it was unpacked in;
// the server looks for them relative to itself, so this does too.
func layout(ctx context.Context, dir string) (share, pkglib string, err error) {
	// The pg_config on PATH may belong to another version; the one beside the
	// server is right, and some distributions ship it only in a -dev package.
	pgConfig := filepath.Join(dir, "pg_config")
	if _, err := os.Stat(pgConfig); err != nil {
		pgConfig = "pg_config"
		bindir, err := exec.CommandContext(ctx, pgConfig, "--bindir").Output()
		if err != nil || strings.TrimSpace(string(bindir)) != dir {
			return "", "", fmt.Errorf("no pg_config for %s (Debian: apt install libpq-dev postgresql-client)", dir)
		}
	}
	out, err := exec.CommandContext(ctx, pgConfig, "--bindir", "--sharedir", "--pkglibdir").Output()
	if err != nil {
		return "", "", fmt.Errorf("%s --bindir --sharedir --pkglibdir: %w", pgConfig, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 3 {
		return "", "", fmt.Errorf("%s printed %q where three directories were expected", pgConfig, out)
	}
	for i, to := range []*string{&share, &pkglib} {
		*to = lines[i+1]
		relative, err := filepath.Rel(lines[0], lines[i+1])
		if err != nil {
			return "", "", fmt.Errorf("%s: %w", pgConfig, err)
		}
		if here := filepath.Join(dir, relative); isDir(here) {
			*to = here
		}
	}
	return share, pkglib, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (b *Binaries) path(program string) string { return filepath.Join(b.Dir, program) }
