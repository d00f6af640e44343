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

// Binaries is one installation of PostgreSQL's server programs.
type Binaries struct {
	Dir     string // holds postgres and initdb
	Version string // as `postgres --version` prints it

	share  string // pg_config --sharedir
	pkglib string // pg_config --pkglibdir
}

// Find returns the PostgreSQL installation to use: $PGSHUNT_PGBIN where it is
// set (nothing else is tried then), else what `pg_config --bindir` names, else
// the newest below /usr/lib/postgresql, else the directory of the postgres on
// PATH. The error says what to install.
func Find(ctx context.Context) (*Binaries, error) {
	if dir := os.Getenv(BinEnv); dir != "" {
		if !hasServer(dir) {
			return nil, fmt.Errorf("%s=%s holds no postgres and initdb", BinEnv, dir)
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

	// The pg_config on PATH may belong to another version; the one beside the
	// server is right, and some distributions ship it only in a -dev package.
	pgConfig := b.path("pg_config")
	if _, err := os.Stat(pgConfig); err != nil {
		pgConfig = "pg_config"
		bindir, err := exec.CommandContext(ctx, pgConfig, "--bindir").Output()
		if err != nil || strings.TrimSpace(string(bindir)) != dir {
			return nil, fmt.Errorf("no pg_config for %s (Debian: apt install libpq-dev postgresql-client)", dir)
		}
	}
	out, err := exec.CommandContext(ctx, pgConfig, "--sharedir", "--pkglibdir").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --sharedir --pkglibdir: %w", pgConfig, err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 2 {
		return nil, fmt.Errorf("%s printed %q where two directories were expected", pgConfig, out)
	}
	b.share, b.pkglib = strings.TrimSpace(lines[0]), strings.TrimSpace(lines[1])
	return b, nil
}

func (b *Binaries) path(program string) string { return filepath.Join(b.Dir, program) }
