package program

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// install makes a directory of programs that call themselves version major.
func install(t *testing.T, major int) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"pg_dump", "pg_restore"} {
		text := "#!/bin/sh\necho '" + name + " (PostgreSQL) " + strconv.Itoa(major) + ".1'\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// The versions here are such as nobody has installed.
func TestTheProgramsOfTheServersOwnVersionGoFirst(t *testing.T) {
	dirs := []string{install(t, 902), install(t, 900), install(t, 903)}
	t.Setenv("PATH", strings.Join(append(dirs, "/bin"), ":"))
	for _, c := range []struct{ major, want, newest int }{{900, 900, 903}, {902, 902, 903}, {903, 903, 903}, {901, 902, 903}, {899, 902, 903}} {
		p, err := Find(t.Context(), c.major)
		if err != nil || p.Major != c.want || filepath.Dir(p.Restore) != filepath.Dir(p.Dump) {
			t.Errorf("for %d: %+v, %v", c.major, p, err)
		}
		if p, err = FindNewest(t.Context(), c.major); err != nil || p.Major != c.newest {
			t.Errorf("the newest for %d: %+v, %v", c.major, p, err)
		}
	}
	for _, find := range []func(context.Context, int) (Set, error){Find, FindNewest} {
		_, err := find(t.Context(), 904)
		if err == nil || !strings.Contains(err.Error(), dirs[1]+"/pg_dump is version 900") || !strings.Contains(err.Error(), "postgresql-client-904") {
			t.Errorf("%v", err)
		}
	}
}
