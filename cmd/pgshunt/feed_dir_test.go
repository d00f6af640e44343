package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestADirectoryIsForOneCopy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pgshunt.yaml")
	config := `primary: {url: "postgres://app@127.0.0.1:1/shop"}
replicas:
  - {name: ml1, url: "postgres://app@127.0.0.1:1/shop", feed: dump}
  - {name: ml2, url: "postgres://app@127.0.0.1:1/shop", feed: logical}
auth: {method: trust}
`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	run := inProcess(file)
	dir := filepath.Join(t.TempDir(), "copy")
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"apply --to-dir DIR", 2, "name it with --replica"},
		{"apply --replica ml2 --to-dir DIR", 2, "replica ml2 has feed: logical"},
		{"refresh --replica ml2 --from-dir DIR", 2, "replica ml2 has feed: logical"},
		{"apply --replica ml1 --to-dir DIR --from-dir DIR", 2, "give one of them"},
		{"refresh --replica ml1 --from-dir DIR --table x", 2, "--table does not go with a directory"},
		{"apply --replica ml1 --to-dir DIR", 1, "ml1: not written: primary: connect"},
		{"apply --replica ml1 --from-dir DIR", 1, "ml1: connect"},
	} {
		out, status, err := run(t.Context(), strings.Fields(strings.ReplaceAll(c.args, "DIR", dir))...)
		if err != nil || status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%s: status %d, %v\n%s", c.args, status, err, out)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s: left over: %v", c.args, err)
		}
	}
}
