package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"

	"pgshunt/internal/cluster"
)

// suite is PostgreSQL's src/test/regress, built, and copied to where the account
// that servers run as can read it: tests have the server read and write files.
type suite struct {
	opts  options
	dir   string // everything this program writes, but for -out
	input string // the suite
	bin   *cluster.Binaries
}

func newSuite(ctx context.Context, o options) (*suite, error) {
	if _, err := os.Stat(o.pgshunt); err != nil && !o.oracle {
		return nil, fmt.Errorf("%w; `make build` makes it", err)
	}
	bin, err := cluster.Find(ctx, "")
	if err != nil {
		return nil, err
	}
	major := regexp.MustCompile(`\d+`).FindString(bin.Version)
	prepare := exec.CommandContext(ctx, "scripts/postgresql-tests", major, o.source)
	prepare.Stderr = os.Stderr
	built, err := prepare.Output()
	if err != nil {
		return nil, fmt.Errorf("scripts/postgresql-tests: %w", err)
	}
	dir, err := os.MkdirTemp("", "pgshunt-regress-")
	if err != nil {
		return nil, err
	}
	s := &suite{opts: o, dir: dir, input: filepath.Join(dir, "suite"), bin: bin}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.CopyFS(s.input, os.DirFS(string(built[:len(built)-1]))); err != nil { // less the newline
		_ = s.close() // the first error is the one that explains
		return nil, err
	}
	return s, nil
}

func (s *suite) close() error { return os.RemoveAll(s.dir) }

// give makes the owner of a server's files the owner of dir, and returns the
// credential to run programs as that account; nil where it is ours.
func give(dir, serverFiles string) (*syscall.Credential, error) {
	info, err := os.Stat(serverFiles)
	if err != nil {
		return nil, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) == os.Geteuid() {
		return nil, nil
	}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(st.Uid), int(st.Gid))
	})
	return &syscall.Credential{Uid: st.Uid, Gid: st.Gid}, err
}
