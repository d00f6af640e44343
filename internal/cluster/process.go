package cluster

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// process is one running postmaster.
type process struct {
	os   *os.Process
	done chan struct{} // closed when it has ended
	err  error         // how it ended; valid once done is closed
}

// launch runs postgres on a data directory, its output appended to logPath.
func launch(postgres, data, logPath string, acct account) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the server has its own copy

	cmd := exec.Command(postgres, "-D", data)
	cmd.Dir = data
	cmd.Env = serverEnv()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = procAttr(acct)

	p := &process{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the parent death signal when the *thread* that forked
		// ends, so that thread has to live as long as the server: it waits for it.
		runtime.LockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.os = cmd.Process
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func (p *process) signal(sig syscall.Signal) {
	_ = p.os.Signal(sig) // the only failure is that it has ended already
}

// kill ends the postmaster and everything it forked as a power cut would, and
// waits for them: as long as one still has the shared memory, no server can
// start on that data directory.
func (p *process) kill() {
	p.signal(syscall.SIGSTOP) // so that it forks nothing after the list is made
	children := childrenOf(p.os.Pid)
	p.signal(syscall.SIGKILL)
	for _, pid := range children {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.done
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for _, pid := range children {
		for !ended(pid) { // a killed process needs a moment, and is not ours to wait for
			<-tick.C
		}
	}
}

// serverEnv is this process's environment less what would change the server's
// or initdb's behaviour.
func serverEnv() []string {
	env := []string{"LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}
