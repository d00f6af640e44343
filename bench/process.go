package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// process is a running proxy, with the processes it starts: one group.
type process struct {
	cmd     *exec.Cmd
	logPath string
	done    chan struct{} // closed when it has ended
}

// startProcess runs a proxy with its output in a log file, and as another
// account where cred is set. It ends with this process, whatever happens.
func startProcess(logPath string, cred *syscall.Credential, program string, args ...string) (*process, error) {
	log, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the process has its own copy
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = helperAttr()
	cmd.SysProcAttr.Credential = cred

	p := &process{cmd: cmd, logPath: logPath, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The signal at the parent's death is sent when the thread that forked ends, so
		// that thread waits for the process.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // how it ended is in its log
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// stopPatience is how long a proxy may take to end before it is killed.
const stopPatience = 3 * time.Second

// stop ends the processes and waits for the first. The nil process has ended.
func (p *process) stop() {
	if p == nil {
		return
	}
	select {
	case <-p.done:
		return
	default:
	}
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM) // fails only when it has ended
	select {
	case <-p.done:
	case <-time.After(stopPatience):
		_ = syscall.Kill(group, syscall.SIGKILL)
		<-p.done
	}
}

// awaitReady waits until a login to the proxy succeeds.
func (e *endpoint) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	url := fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", superuser, e.port, database)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgconn.Connect(ctx, url)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick.C:
			continue
		case <-e.proc.done:
			err = errors.New("it ended")
		case <-ctx.Done():
		}
		log, _ := os.ReadFile(e.proc.logPath)
		e.proc.stop()
		return fmt.Errorf("%s does not serve: %w; its log:\n%s", e.name, err, log[max(0, len(log)-2000):])
	}
}

// freePort returns a port that was free a moment ago, below the range that the
// kernel gives to outgoing connections.
func freePort() (int, error) {
	const lowest, highest = 15000, 32000
	for range 100 {
		port := lowest + rand.IntN(highest-lowest)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("found no free port on 127.0.0.1")
}
