package cluster_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgshunt/internal/cluster"
)

// installation makes a directory of programs that say what PostgreSQL's say; its pg_config
// knows only where the package belongs.
func installation(t *testing.T, version string) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "lib", "postgresql", version, "bin")
	for _, d := range []string{dir, filepath.Join(dir, "..", "lib"), filepath.Join(root, "share", "postgresql", version)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, script := range map[string]string{
		"postgres": "echo 'postgres (PostgreSQL) " + version + ".1'", "initdb": "false",
		"pg_config": "echo /none/lib/postgresql/V/bin; echo /none/share/postgresql/V; echo /none/lib/postgresql/V/lib",
	} {
		script = "#!/bin/sh\n" + strings.ReplaceAll(script, "V", version) + "\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSidesHaveInstallationsOfTheirOwn(t *testing.T) {
	old, middle, recent := installation(t, "13"), installation(t, "15"), installation(t, "18")
	t.Setenv(cluster.BinEnv, middle)
	t.Setenv(cluster.BinEnv+"_PRIMARY", recent)
	t.Setenv(cluster.BinEnv+"_REPLICA", old)
	for side, want := range map[cluster.Side]string{"": middle, cluster.PrimarySide: recent, cluster.ReplicaSide: old} {
		if b, err := cluster.Find(t.Context(), side); err != nil || b.Dir != want {
			t.Errorf("%q: %+v, %v; want %s", side, b, err, want)
		}
	}
	t.Setenv("PATH", os.Getenv("PATH")) // so that it is put back
	if err := cluster.PreferPrograms(t.Context()); err != nil || !strings.HasPrefix(os.Getenv("PATH"), recent+":") {
		t.Errorf("PATH=%s, %v", os.Getenv("PATH"), err)
	}
	t.Setenv(cluster.BinEnv+"_PRIMARY", "")
	if b, err := cluster.Find(t.Context(), cluster.PrimarySide); err != nil || b.Major() != 15 {
		t.Errorf("a side that is not set: %+v, %v", b, err)
	}
	t.Setenv(cluster.BinEnv+"_REPLICA", t.TempDir())
	if _, err := cluster.Find(t.Context(), cluster.ReplicaSide); err == nil || !strings.Contains(err.Error(), cluster.BinEnv+"_REPLICA") {
		t.Errorf("got %v", err)
	}
}

func TestAnInstallationIsWhereItsProgramsAre(t *testing.T) {
	dir := installation(t, "13")
	t.Setenv(cluster.BinEnv, dir)
	b, err := cluster.Find(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	share, pkglib := b.Layout()
	if want := filepath.Join(dir, "../../../../share/postgresql/13"); share != want || pkglib != filepath.Join(dir, "../lib") {
		t.Errorf("%s and %s, want %s", share, pkglib, want)
	}
}
