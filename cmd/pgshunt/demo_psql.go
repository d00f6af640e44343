package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// demoPsql is one psql with one connection. Statements are written to its standard
// input one at a time; after each it is asked to print a mark, with the SQLSTATE
// and the row count that psql itself has kept.
type demoPsql struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // its output and error output, in order; closed at their end
	marks int
}

// demoAnswer is what psql has to say about a statement.
type demoAnswer struct {
	lines    []string
	sqlstate string
	rows     int
	elapsed  time.Duration // until psql was through with it
}

// startDemoPsql runs psql on a connection string; boxes asks for tables with lines.
func startDemoPsql(ctx context.Context, dir, url string, boxes bool) (*demoPsql, error) {
	args := []string{"-X", "--no-password", "--dbname", url}
	if boxes {
		args = append(args, "-P", "linestyle=unicode", "-P", "border=2")
	}
	p := &demoPsql{cmd: demoProgram(ctx, dir, "psql", args...), lines: make(chan string, 1000)}
	// Ctrl-C is for the demo, which ends psql itself.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer write.Close() // psql has its own copy
	p.cmd.Stdout, p.cmd.Stderr = write, write
	if p.in, err = p.cmd.StdinPipe(); err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		_ = read.Close()
		return nil, fmt.Errorf("psql: %w\nInstall PostgreSQL's client programs (Debian, Ubuntu: apt install postgresql-client)", err)
	}
	go func() {
		defer close(p.lines)
		defer read.Close()
		text := bufio.NewScanner(read)
		text.Buffer(nil, 1<<20)
		for text.Scan() {
			p.lines <- text.Text()
		}
	}()
	return p, nil
}

// demoStepPatience bounds one statement.
const demoStepPatience = time.Minute

// run has psql execute a statement, written with its semicolon or other end, and
// the data of a COPY FROM STDIN after it.
func (p *demoPsql) run(ctx context.Context, sql, data string) (demoAnswer, error) {
	p.marks++
	mark := fmt.Sprintf("pgshunt-demo-%d", p.marks)
	if data != "" {
		data = strings.TrimSuffix(data, "\n") + "\n\\.\n"
	}
	began := time.Now()
	if _, err := io.WriteString(p.in, sql+"\n"+data+"\\echo "+mark+" :SQLSTATE :ROW_COUNT\n"); err != nil {
		return demoAnswer{}, p.ended(demoAnswer{})
	}
	timer := time.NewTimer(demoStepPatience)
	defer timer.Stop()
	var a demoAnswer
	for {
		select {
		case line, ok := <-p.lines:
			rest, isMark := strings.CutPrefix(line, mark+" ")
			switch {
			case !ok:
				return a, p.ended(a)
			case !isMark:
				a.lines = append(a.lines, line)
				continue
			}
			a.elapsed = time.Since(began)
			state, rows, _ := strings.Cut(rest, " ")
			n, err := strconv.Atoi(rows)
			if err != nil {
				return a, fmt.Errorf("psql printed %q where a row count was expected; it must be version 13 or newer", rest)
			}
			a.sqlstate, a.rows = state, n
			return a, nil
		case <-timer.C:
			return a, fmt.Errorf("no answer within %v to: %s", demoStepPatience, sql)
		case <-ctx.Done():
			return a, context.Cause(ctx)
		}
	}
}

func (p *demoPsql) ended(a demoAnswer) error {
	for line := range p.lines {
		a.lines = append(a.lines, line)
	}
	return fmt.Errorf("psql has ended: %s", strings.Join(a.lines, "\n"))
}

// close ends psql and waits for it. How it ended says nothing: its exit status is
// that of the last statement.
func (p *demoPsql) close() {
	_ = p.in.Close() // it leaves at the end of its input
	timer := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	_ = p.cmd.Wait()
	for range p.lines { // lets the reader finish
	}
}

// demoEnv is this process's environment less what would change where psql
// connects or how it prints.
func demoEnv() []string {
	env := []string{"LC_ALL=C.UTF-8", "PGCONNECT_TIMEOUT=10", "PGAPPNAME=pgshunt demo"}
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}
