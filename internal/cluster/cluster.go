package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Config says what to start. The zero value is a server in a temporary
// directory on a free port.
type Config struct {
	Name       string            // for messages; default "postgres"
	Dir        string            // home of everything the cluster writes; default: a temporary one, removed by Close
	Side       Side              // whose installation it runs, where the environment names several; a standby has its source's
	Port       int               // on 127.0.0.1; 0 picks a free one
	Superuser  string            // default "postgres"
	Settings   map[string]string // postgresql.conf entries, over the defaults of this package
	HBA        string            // pg_hba.conf; default: trust everybody. The superuser always gets in by the Unix socket
	Extensions map[string][]byte // extension control and script files by name, offered beside the installed ones
	StandbyOf  *Cluster          // makes a hot standby of a running cluster, with its superuser and settings under those above
}

// Cluster is one server and its data directory. Its methods may be called from
// any goroutine.
type Cluster struct {
	Name     string
	Port     int
	Version  string    // as `postgres --version` prints it
	Binaries *Binaries // for client programs of the same installation, such as pg_dump

	cfg       Config
	acct      account
	dir       string
	data      string
	socketDir string
	postgres  string   // the executable
	remove    []string // directories that this package made, for Close

	mu   sync.Mutex
	proc *process // the last one started; it may have ended
}

// stopPatience is how long a fast shutdown may take before it is made an
// immediate one. A walsender whose receiver hangs can hold one up for ever.
const stopPatience = 10 * time.Second

// Start makes a cluster, or takes up again the one that is in cfg.Dir, and
// returns once it answers queries. ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (*Cluster, error) {
	if cfg.Name == "" {
		cfg.Name = "postgres"
	}
	if cfg.Superuser == "" {
		cfg.Superuser = "postgres"
	}
	if source := cfg.StandbyOf; source != nil {
		cfg.Superuser = source.cfg.Superuser
		// A standby refuses to start with lower limits than its source has.
		settings := maps.Clone(source.cfg.Settings)
		if settings == nil {
			settings = map[string]string{}
		}
		maps.Copy(settings, cfg.Settings)
		cfg.Settings = settings
	}
	bin, err := cfg.installation(ctx)
	if err != nil {
		return nil, err
	}
	acct, err := serverAccount()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Name: cfg.Name, Port: cfg.Port, Version: bin.Version, Binaries: bin, cfg: cfg, acct: acct}
	if err := c.build(ctx); err != nil {
		_ = c.removeAll() // the first error is the one that explains
		return nil, fmt.Errorf("cluster %s: %w", cfg.Name, err)
	}
	if err := c.run(ctx); err != nil {
		err = fmt.Errorf("cluster %s: %w%s", cfg.Name, err, c.logTail())
		_ = c.removeAll()
		return nil, err
	}
	return c, nil
}

// installation is what the server runs. A standby replays its source's WAL, which only
// the same version can read.
func (cfg Config) installation(ctx context.Context) (*Binaries, error) {
	if cfg.StandbyOf != nil {
		return cfg.StandbyOf.Binaries, nil
	}
	return Find(ctx, cfg.Side)
}

// run starts the server and waits until it answers. Where the port was not
// asked for, a server that ends at once gets another one: somebody else may
// have taken the port between its choice and its use.
func (c *Cluster) run(ctx context.Context) error {
	for attempt := 1; ; attempt++ {
		if c.cfg.Port == 0 {
			port, err := freePort()
			if err != nil {
				return err
			}
			c.Port = port
		}
		err := c.runOnce(ctx)
		if err == nil {
			// A restart must find the server where its users know it.
			c.cfg.Port = c.Port
			return nil
		}
		if c.cfg.Port != 0 || attempt == 5 || !errors.Is(err, errEnded) {
			return err
		}
	}
}

var errEnded = errors.New("the server ended during its start")

func (c *Cluster) runOnce(ctx context.Context) error {
	if err := c.writeConfig(); err != nil {
		return err
	}
	proc, err := launch(c.postgres, c.data, c.LogPath(), c.acct)
	if err != nil {
		return err
	}
	c.proc = proc
	if err := c.awaitReady(ctx, proc); err != nil {
		proc.kill()
		return err
	}
	return nil
}

// awaitReady connects until it succeeds. It uses the Unix socket, which only
// this server can own: on a port lost to somebody else a foreign server would
// answer. The server opens it after the port, so both are ready.
func (c *Cluster) awaitReady(ctx context.Context, proc *process) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgconn.Connect(ctx, c.SocketURL(c.cfg.Superuser, "postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-proc.done:
			return fmt.Errorf("%w: %w", errEnded, proc.err)
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w (last answer: %w)", context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// Stop shuts the server down, ending sessions and rolling back their
// transactions, and waits for it. The data stays for Restart. Stopping a
// stopped cluster does nothing.
func (c *Cluster) Stop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopLocked()
}

func (c *Cluster) stopLocked() error {
	p := c.proc
	if p == nil || !p.running() {
		return nil
	}
	p.signal(syscall.SIGINT)
	timer := time.NewTimer(stopPatience)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
	}
	p.kill()
	return fmt.Errorf("cluster %s: did not stop within %v and was killed", c.Name, stopPatience)
}

// Restart starts the server again on the same port and data, stopping it
// before where it runs. It also takes up a stopped or killed one.
func (c *Cluster) Restart(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.stopLocked(); err != nil {
		return err
	}
	if err := c.runOnce(ctx); err != nil {
		return fmt.Errorf("cluster %s: %w%s", c.Name, err, c.logTail())
	}
	return nil
}

// Kill ends the server and its sessions without any shutdown, as a crash of
// the machine would; clients see a broken connection and no message. Restart
// brings it back, through crash recovery.
func (c *Cluster) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proc != nil && c.proc.running() {
		c.proc.kill()
	}
}

// Close stops the server and removes the directories that Start made; a
// Config.Dir of the caller stays.
func (c *Cluster) Close() error {
	err := c.Stop()
	return errors.Join(err, c.removeAll())
}

func (c *Cluster) removeAll() error {
	var errs []error
	for _, dir := range c.remove {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// Done is closed when the server process that runs now ends, whatever the cause.
func (c *Cluster) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proc.done
}

// PID is the process id of the postmaster.
func (c *Cluster) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.proc.os.Pid
}
