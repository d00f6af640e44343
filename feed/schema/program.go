package schema

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Programs are pg_dump and pg_restore of one installation.
type Programs struct {
	Dump, Restore string
	// Major is their version, as 15.
	Major int
}

// FindPrograms returns the pg_dump and pg_restore to use for a server of version major:
// those on PATH where they are as new as the server, else the newest of those that Debian
// and Red Hat install side by side. An older pg_dump refuses a newer server.
func FindPrograms(ctx context.Context, major int) (Programs, error) {
	var have []string
	for _, dir := range programDirs() {
		p, err := inspect(ctx, dir)
		if err != nil {
			continue
		}
		if p.Major >= major {
			return p, nil
		}
		have = append(have, fmt.Sprintf("%s is version %d", p.Dump, p.Major))
	}
	found := "there is none"
	if len(have) > 0 {
		found = strings.Join(have, ", ")
	}
	return Programs{}, fmt.Errorf("pg_dump and pg_restore of version %d or later are needed (%s); install them on this machine (Debian: apt install postgresql-client-%d)", major, found, major)
}

// programDirs lists where to look, in order. Debian's pg_dump on PATH is a script that
// chooses a version by the cluster it thinks it talks to, so it is passed over.
func programDirs() (dirs []string) {
	if path, err := exec.LookPath("pg_dump"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil && filepath.Base(path) != "pg_wrapper" {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	var versioned []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"} {
		found, _ := filepath.Glob(pattern)
		versioned = append(versioned, found...)
	}
	slices.SortFunc(versioned, func(a, b string) int { return majorOf(b) - majorOf(a) })
	return append(dirs, versioned...)
}

var number = regexp.MustCompile(`[0-9]+`)

// majorOf reads 15 from /usr/lib/postgresql/15/bin, from "15.18" and from what
// `pg_dump --version` prints; 0 where there is no number.
func majorOf(text string) int {
	n, _ := strconv.Atoi(number.FindString(text))
	return n
}

func inspect(ctx context.Context, dir string) (Programs, error) {
	p := Programs{Dump: filepath.Join(dir, "pg_dump"), Restore: filepath.Join(dir, "pg_restore")}
	if _, err := os.Stat(p.Restore); err != nil {
		return p, err
	}
	out, err := exec.CommandContext(ctx, p.Dump, "--version").Output()
	p.Major = majorOf(string(out))
	return p, err
}
