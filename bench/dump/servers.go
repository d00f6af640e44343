package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"pgshunt/internal/cluster"
)

// ordinary gives a server WAL segments of the size that initdb gives it: those of the tests'
// clusters are of 1 MB, each of which has to reach the disk before the next is begun.
func ordinary(ctx context.Context, c *cluster.Cluster) error {
	if err := c.Stop(); err != nil {
		return err
	}
	data := filepath.Join(c.Dir(), "data")
	info, err := os.Stat(data)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.Binaries.Dir, "pg_resetwal"), "--wal-segsize=16", data)
	cmd.Dir = "/"
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_resetwal: %w: %s", err, out)
	}
	return c.Restart(ctx)
}

// clockTick is the unit of CPU times in /proc, which is the same on every Linux.
const clockTick = time.Second / 100

// serverCPU is the CPU time that a server has used since it was started: the postmaster, what
// it has waited for, and its processes that run.
func serverCPU(c *cluster.Cluster) (sum time.Duration, err error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has just ended
		}
		if err != nil {
			return 0, err
		}
		// From the third field on: the name before them may hold any character.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		const parent, user, last = 1, 11, 14
		if len(fields) <= last {
			return 0, fmt.Errorf("%s: unexpected content %q", path, text)
		}
		used := fields[user : last+1]
		switch server := strconv.Itoa(c.PID()); server {
		case filepath.Base(filepath.Dir(path)):
		case string(fields[parent]):
			used = used[:2] // what it has waited for itself is no server process
		default:
			continue
		}
		for _, ticks := range used {
			n, err := strconv.ParseInt(string(ticks), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %w", path, err)
			}
			sum += time.Duration(n) * clockTick
		}
	}
	return sum, nil
}
