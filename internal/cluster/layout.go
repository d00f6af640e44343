package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// build lays out the cluster's directory: data, sockets, and where extensions
// are asked for, an installation tree.
func (c *Cluster) build(ctx context.Context) error {
	dir := c.cfg.Dir
	if dir == "" {
		tmp, err := os.MkdirTemp("", "pgshunt-")
		if err != nil {
			return err
		}
		c.remove = append(c.remove, tmp)
		dir = tmp
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return err
	}
	c.dir, c.data = dir, filepath.Join(dir, "data")
	if err := c.acct.reach(c.data); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(c.data, "PG_VERSION")); err != nil {
		if err := c.fillDataDir(ctx); err != nil {
			return err
		}
	}
	if err := c.makeSocketDir(); err != nil {
		return err
	}
	c.postgres = c.Binaries.path("postgres")
	if len(c.cfg.Extensions) > 0 {
		tree := filepath.Join(dir, "installation")
		if err := os.RemoveAll(tree); err != nil {
			return err
		}
		if c.postgres, err = c.Binaries.privateTree(tree, c.cfg.Extensions); err != nil {
			return err
		}
		// Not readable for others under a strict umask.
		if err := c.acct.own(tree); err != nil {
			return err
		}
	}
	return nil
}

// fillDataDir makes the data directory: a copy of the template, or of the
// cluster that this one shall follow.
func (c *Cluster) fillDataDir(ctx context.Context) error {
	if c.cfg.StandbyOf == nil {
		return newDataDir(ctx, c.Binaries, c.acct, c.cfg.Superuser, c.data)
	}
	if err := os.Mkdir(c.data, 0o700); err != nil {
		return err
	}
	if err := c.acct.own(c.data); err != nil {
		return err
	}
	source := c.cfg.StandbyOf
	cmd := exec.CommandContext(ctx, c.Binaries.path("pg_basebackup"), "-D", c.data, "-R", "-X", "stream",
		"-c", "fast", "--no-sync", "-d", source.SocketURL(source.cfg.Superuser, "postgres"))
	cmd.Dir = c.data
	cmd.Env = serverEnv()
	cmd.SysProcAttr = procAttr(c.acct)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_basebackup: %w\n%s", err, out)
	}
	return nil
}

// makeSocketDir puts the socket in the cluster's directory, unless that makes
// its path longer than the 107 bytes that a socket address holds.
func (c *Cluster) makeSocketDir() error {
	c.socketDir = filepath.Join(c.dir, "socket")
	if len(c.socketDir)+len("/.s.PGSQL.65535.lock") > 100 {
		tmp, err := os.MkdirTemp("/tmp", "pgshunt-")
		if err != nil {
			return err
		}
		c.remove = append(c.remove, tmp)
		c.socketDir = tmp
	}
	if err := os.MkdirAll(c.socketDir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(c.socketDir, 0o755); err != nil {
		return err
	}
	return c.acct.own(c.socketDir)
}
