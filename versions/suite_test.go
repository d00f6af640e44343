package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// In the place of patchelf and chroot: a program is a text with its interpreter, and while the
// disk is full nothing is left of it.
const (
	fakePatchelf = `#!/bin/sh
case $1 in
--print-interpreter) grep -q ELF "$2" && sed -n 's/^interpreter //p' "$2" ;;
--set-interpreter)
	: >"$3"
	[ ! -e "$FULL" ] || exit 1
	printf 'ELF\ninterpreter %s\n' "$2" >"$3" ;;
esac
`
	fakeChroot = "#!/bin/sh\necho \"$4\"\n"
	fakeSudo   = "#!/bin/sh\nexec \"$@\"\n"
)

// What an attempt was at when it ended must not be taken for done by the next one.
func TestTheProgramsOfARootArePatchedAsAWhole(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("fake/patchelf", fakePatchelf)
	write("fake/chroot", fakeChroot)
	write("fake/sudo", fakeSudo)
	const bin = "cache/sid/usr/lib/postgresql/18/bin"
	write("cache/sid/made", "")
	write(bin+"/postgres", "ELF\ninterpreter /lib/ld.so\n")
	write(bin+"/script", "#!/bin/sh\n")
	write("full", "")
	script, err := filepath.Abs("../scripts/postgresql-suite")
	if err != nil {
		t.Fatal(err)
	}
	attempt := func() (string, error) {
		cmd := exec.CommandContext(t.Context(), script, "sid", "cache")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+dir+"/fake:"+os.Getenv("PATH"), "FULL="+dir+"/full")
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	if out, err := attempt(); err == nil {
		t.Errorf("it was done without room: %s", out)
	}
	if err := os.Remove(filepath.Join(dir, "full")); err != nil {
		t.Fatal(err)
	}
	if out, err := attempt(); err != nil || out != filepath.Join(dir, bin) {
		t.Errorf("%q, %v", out, err)
	}
	for name, want := range map[string]string{"postgres": "ELF\ninterpreter " + dir + "/cache/sid/lib/ld.so\n", "script": "#!/bin/sh\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, bin, name)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", name, got, err, want)
		}
	}
}
