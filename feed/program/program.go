// Package program runs PostgreSQL's own client programs, pg_dump and pg_restore, for the
// feeds: it finds them, and lets them log in without a password.
package program

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Set is the programs of one installation.
type Set struct {
	Dump, Restore string
	// Major is their version, as 15.
	Major int
}

// Find returns the pg_dump and pg_restore to use for a server of version major: those of
// that version where they are installed, else newer ones; an older pg_dump refuses a newer
// server, and a newer one does not know what came with a minor version. Of each, those on PATH
// go before those that Debian and Red Hat install side by side.
func Find(ctx context.Context, major int) (Set, error) {
	have := installed(ctx, programDirs())
	if n := slices.IndexFunc(have, func(p Set) bool { return p.Major == major }); n >= 0 {
		return have[n], nil
	}
	return firstSince(have, major)
}

// FindNewest returns the newest programs there are, major or later. Its pg_restore reads an
// archive whichever pg_dump has written it, which an older one refuses.
func FindNewest(ctx context.Context, major int) (Set, error) {
	have := installed(ctx, programDirs())
	slices.SortStableFunc(have, func(a, b Set) int { return b.Major - a.Major })
	return firstSince(have, major)
}

func firstSince(have []Set, major int) (Set, error) {
	var older []string
	for _, p := range have {
		if p.Major >= major {
			return p, nil
		}
		older = append(older, fmt.Sprintf("%s is version %d", p.Dump, p.Major))
	}
	found := "there is none"
	if len(older) > 0 {
		found = strings.Join(older, ", ")
	}
	return Set{}, fmt.Errorf("pg_dump and pg_restore of version %d or later are needed (%s); install them on this machine (Debian: apt install postgresql-client-%d)", major, found, major)
}

func installed(ctx context.Context, dirs []string) (have []Set) {
	for _, dir := range dirs {
		if p, err := inspect(ctx, dir); err == nil {
			have = append(have, p)
		}
	}
	return have
}

// programDirs lists where to look, in order, each once. Debian's pg_dump on PATH is a script that
// chooses a version by the cluster it thinks it talks to, so it is passed over.
func programDirs() (dirs []string) {
	add := func(dir string) {
		if !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if path, err := filepath.EvalSymlinks(filepath.Join(dir, "pg_dump")); err == nil && filepath.IsAbs(path) && filepath.Base(path) != "pg_wrapper" {
			add(filepath.Dir(path))
		}
	}
	var versioned []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin"} {
		found, _ := filepath.Glob(pattern)
		versioned = append(versioned, found...)
	}
	slices.SortFunc(versioned, func(a, b string) int { return Major(b) - Major(a) })
	for _, dir := range versioned {
		add(dir)
	}
	return dirs
}

var number = regexp.MustCompile(`[0-9]+`)

// Major reads 15 from a server's version as "15.18", from /usr/lib/postgresql/15/bin and
// from what `pg_dump --version` prints; 0 where there is no number.
func Major(text string) int {
	n, _ := strconv.Atoi(number.FindString(text))
	return n
}

func inspect(ctx context.Context, dir string) (Set, error) {
	p := Set{Dump: filepath.Join(dir, "pg_dump"), Restore: filepath.Join(dir, "pg_restore")}
	if _, err := os.Stat(p.Restore); err != nil {
		return p, err
	}
	out, err := exec.CommandContext(ctx, p.Dump, "--version").Output()
	p.Major = Major(string(out))
	return p, err
}

// Run runs a program without our environment's PostgreSQL settings. Its error is
// what the program said last.
func Run(ctx context.Context, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = environment()
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, spoken(program, &said, err)
	}
	return out.Bytes(), nil
}

// Stream runs a program as Run does, and has read take what it writes while it runs. An
// error of read ends the program and is returned, unless it is io.ErrUnexpectedEOF: then it
// is what the program said that tells why. Stream returns nil only where the program ended well.
func Stream(ctx context.Context, read func(io.Reader) error, program string, args ...string) error {
	running, end := context.WithCancel(ctx)
	defer end()
	cmd := exec.CommandContext(running, program, args...)
	cmd.Env = environment()
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	failed := read(out)
	if failed != nil && !errors.Is(failed, io.ErrUnexpectedEOF) {
		end()
	}
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case running.Err() == nil && err != nil:
		return spoken(program, &said, err)
	}
	return failed
}

// spoken is the error of a program in its own words.
func spoken(program string, said *bytes.Buffer, err error) error {
	text := strings.Join(strings.Fields(said.String()), " ")
	if text == "" {
		text = err.Error()
	}
	return errors.New(strings.TrimPrefix(text, filepath.Base(program)+": "))
}

// environment is ours without what libpq would read, and with messages in English.
func environment() []string {
	env := []string{"LC_ALL=C"}
	for _, one := range os.Environ() {
		if !strings.HasPrefix(one, "PG") && !strings.HasPrefix(one, "LC_") && !strings.HasPrefix(one, "LANG") {
			env = append(env, one)
		}
	}
	return env
}
