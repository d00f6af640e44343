package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/cluster"
)

// mode is one way from the suite to the server.
type mode struct {
	name string
	pool string // what the configuration says of the pool; "" is no proxy at all
}

// modes in the order of the table; the first is what the others are compared with.
var modes = []mode{
	{"direct", ""},
	{"fresh", "{mode: session, reuse: false, size: 100}"},
	{"session", "{mode: session, size: 100}"},
	{"transaction", "{mode: transaction, size: 100}"},
}

const superuser = "postgres"

// run runs the suite once, on a server of its own.
func (s *suite) run(ctx context.Context, m mode, round int) (_ outcome, err error) {
	server, err := cluster.Start(ctx, cluster.Config{Name: m.name, Superuser: superuser, Settings: map[string]string{
		"max_connections": "200", "shared_buffers": "128MB", "max_prepared_transactions": "2",
	}})
	if err != nil {
		return outcome{}, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	port := server.Port
	name := fmt.Sprintf("%s-%d", m.name, round)
	if m.pool != "" {
		p, err := s.startProxy(ctx, server, m, name)
		if err != nil {
			return outcome{}, err
		}
		defer p.stop()
		port = p.port
	}
	o := outcome{mode: m.name, round: round}
	output := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Join(output, "results"), 0o755); err != nil {
		return o, err
	}
	cred, err := give(output, filepath.Join(server.Dir(), "data"))
	if err != nil {
		return o, err
	}
	args := []string{
		"--inputdir=" + s.input, "--outputdir=" + output, "--dlpath=" + s.input, "--bindir=" + s.bin.Dir,
		"--host=127.0.0.1", "--port=" + strconv.Itoa(port), "--user=" + superuser,
		"--max-connections=" + strconv.Itoa(s.opts.connections),
	}
	if len(s.opts.tests) == 0 {
		args = append(args, "--schedule="+filepath.Join(s.input, "parallel_schedule"))
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.input, "pg_regress"), append(args, s.opts.tests...)...)
	cmd.Dir = s.input
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "PGSSLMODE=disable", "PGGSSENCMODE=disable"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // psql too
	cmd.WaitDelay = 5 * time.Second
	printed, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return o, fmt.Errorf("pg_regress: %w\n%s", err, printed)
	}
	for line := range strings.Lines(string(printed)) {
		o.add(strings.TrimRight(line, "\n"))
	}
	if o.total == 0 {
		return o, fmt.Errorf("pg_regress ran no test:\n%s", printed)
	}
	return o, s.keep(o, output, filepath.Join(s.opts.out, name), server)
}

// keep saves what explains the tests that differ.
func (s *suite) keep(o outcome, output, to string, server *cluster.Cluster) error {
	if len(o.failed) == 0 {
		return nil
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	files := map[string]string{filepath.Join(output, "regression.diffs"): "regression.diffs", server.LogPath(): "postgresql.log"}
	for _, name := range o.failed {
		files[filepath.Join(output, "results", name+".out")] = name + ".out"
	}
	if proxyLog := filepath.Join(s.dir, filepath.Base(to)+".log"); o.mode != modes[0].name {
		files[proxyLog] = "pgshunt.log"
	}
	for from, name := range files {
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// running is a proxy process.
type running struct {
	port int
	cmd  *exec.Cmd
	log  *os.File
	done chan struct{} // closed when it has ended
}

// startProxy starts pgshunt as a pooler before the server and waits until it serves.
func (s *suite) startProxy(ctx context.Context, server *cluster.Cluster, m mode, name string) (*running, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return nil, err
	}
	config := filepath.Join(s.dir, name+".yaml")
	text := fmt.Sprintf("listen: 127.0.0.1:%d\nprimary: {url: %q}\nauth: {method: trust}\npool: %s\nshutdown: 1s\nlog: {level: info}\n",
		port, server.URL(superuser, "postgres"), m.pool)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	p := &running{port: port, cmd: exec.Command(s.opts.pgshunt, "serve", "-c", config), log: log, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which stops it
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	if err := p.awaitReady(ctx); err != nil {
		p.stop()
		said, _ := os.ReadFile(log.Name())
		return nil, fmt.Errorf("pgshunt does not serve: %w; its log:\n%s", err, bytes.TrimSpace(said))
	}
	return p, nil
}

func (p *running) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	url := fmt.Sprintf("postgres://%s@127.0.0.1:%d/postgres?sslmode=disable", superuser, p.port)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgconn.Connect(ctx, url)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-p.done:
			return errors.New("it ended")
		case <-ctx.Done():
			return err
		}
	}
}

// stop ends the process and waits for it.
func (p *running) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	_ = p.log.Close()
}
