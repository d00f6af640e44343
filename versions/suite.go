package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"pgshunt/feed/program"
)

// suite is a release of Debian, and the version of PostgreSQL that it has or, for sid, had last.
type suite struct {
	name  string
	major int
}

var suites = []suite{{"bullseye", 13}, {"bookworm", 15}, {"trixie", 17}, {"sid", 18}}

func suiteNames() (names []string) {
	for _, s := range suites {
		names = append(names, s.name)
	}
	return names
}

// chosen are the suites of a list of names.
func chosen(list string) (some []suite, err error) {
names:
	for name := range strings.SplitSeq(list, ",") {
		for _, s := range suites {
			if s.name == name {
				some = append(some, s)
				continue names
			}
		}
		return nil, fmt.Errorf("-suites: %q is none of %s", name, strings.Join(suiteNames(), ", "))
	}
	return some, nil
}

// programs returns the directory of the suite's server programs: the system's where it has
// that version, else those of a root below cache, which is made if it is not there.
func (s suite) programs(ctx context.Context, cache string) (string, error) {
	system := fmt.Sprintf("/usr/lib/postgresql/%d/bin", s.major)
	if _, err := os.Stat(filepath.Join(system, "postgres")); err == nil {
		say("PostgreSQL %d is installed: %s", s.major, system)
		return system, nil
	}
	make := exec.CommandContext(ctx, "scripts/postgresql-suite", s.name, cache)
	make.Stderr = os.Stderr
	out, err := make.Output()
	if err != nil {
		return "", fmt.Errorf("scripts/postgresql-suite %s: %w", s.name, err)
	}
	dir := strings.TrimSpace(string(out))
	say("PostgreSQL %d of %s: %s", majorOf(dir), s.name, dir)
	return dir, nil
}

// installations are the programs of the suites, by major version.
func installations(ctx context.Context, some []suite, cache string) (map[int]string, error) {
	found := map[int]string{}
	for _, s := range some {
		dir, err := s.programs(ctx, cache)
		if err != nil {
			return nil, err
		}
		found[majorOf(dir)] = dir
	}
	return found, nil
}

// majorOf reads 15 from .../postgresql/15/bin, whatever is before that.
func majorOf(dir string) int { return program.Major(filepath.Base(filepath.Dir(dir))) }
