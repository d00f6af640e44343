package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// outcome is one package on one pair.
type outcome struct {
	pair            pair
	pkg             string
	passed, skipped int
	failed          []string // names of tests, or why the package has none
	elapsed         time.Duration
	cached          bool
}

// event is what `go test -json` prints a line of.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// packages lists those that a pattern names and that have tests.
func packages(ctx context.Context, patterns []string) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}"}, patterns...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// test runs one package, with what it printed in a file below dir. Its error says why there is no outcome.
func test(ctx context.Context, p pair, found map[int]string, pkg, dir string, flags []string) (outcome, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return outcome{}, err
	}
	name := strings.NewReplacer("/", "-").Replace(p.String() + "-" + strings.TrimPrefix(pkg, module))
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return outcome{}, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, "go", slices.Concat([]string{"test", "-json"}, flags, []string{pkg})...)
	cmd.Env, cmd.Stderr = p.environment(found), log
	// Tests stop their servers when they are asked to end, not when they are killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 20 * time.Second
	events, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return outcome{}, err
	}
	o, err := read(events, log)
	ended := cmd.Wait()
	if ctx.Err() != nil {
		return outcome{}, ctx.Err()
	}
	if exit := (*exec.ExitError)(nil); ended != nil && !errors.As(ended, &exit) {
		err = errors.Join(err, ended)
	}
	if ended != nil && len(o.failed) == 0 {
		o.failed = []string{"(" + ended.Error() + ")"} // it does not build, or a TestMain failed
	}
	o.pair, o.pkg = p, pkg
	return o, err
}

// read counts what a package's events tell, and writes what its tests printed. Tests within a test
// count as that test, but are named where they fail.
func read(events io.Reader, log io.Writer) (o outcome, err error) {
	lines := bufio.NewReader(events) // a line may be longer than a Scanner's
	for {
		line, end := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) != nil { // not go test's
			e = event{Action: "output", Output: string(line)}
		}
		if _, err := io.WriteString(log, e.Output); err != nil {
			return o, err
		}
		inner := strings.Contains(e.Test, "/")
		switch {
		case e.Test == "" && (e.Action == "pass" || e.Action == "fail"):
			o.elapsed = time.Duration(e.Elapsed * float64(time.Second))
		case e.Test == "" && strings.HasSuffix(strings.TrimSpace(e.Output), "(cached)"):
			o.cached = true
		case e.Test == "":
		case e.Action == "fail":
			o.failed = append(o.failed, e.Test)
		case e.Action == "pass" && !inner:
			o.passed++
		case e.Action == "skip" && !inner:
			o.skipped++
		}
		if end != nil {
			o.failed = leaves(o.failed)
			if end == io.EOF {
				end = nil
			}
			return o, end
		}
	}
}

// leaves are the names without those of tests that failed because one within them did.
func leaves(names []string) (some []string) {
	for _, name := range names {
		if !slices.ContainsFunc(names, func(other string) bool { return strings.HasPrefix(other, name+"/") }) {
			some = append(some, name)
		}
	}
	return some
}
