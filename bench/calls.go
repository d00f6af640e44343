package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// callRow is what a proxy asks of the kernel for a transaction.
type callRow struct {
	Endpoint string  `json:"endpoint"`
	Total    float64 `json:"total"`
	Reads    float64 `json:"reads"`
	Empty    float64 `json:"reads_of_nothing"` // of the reads, those that found nothing
	Writes   float64 `json:"writes"`
	Waits    float64 `json:"waits"`
	Other    string  `json:"other"`
}

// measureCalls counts system calls under strace, over the proxies of one process. It
// slows them down so much that they seldom wait; reads and writes hold.
func measureCalls(ctx context.Context, r *rig, o options) ([]*table, error) {
	const clients, protocol = "8", "prepared"
	t := &table{Title: "System calls for each transaction (strace; prepared, 8 clients)", Calls: []callRow{}}
	t.note("With the calls of %s logins. Under strace waits are rarer than in earnest.", clients)
	for _, e := range r.named(haproxyName, bouncerName, shuntName) {
		db := database
		if e.name == bouncerName && !r.bouncer.prepares {
			db = sessionDatabase
			t.note("PgBouncer %s is in session mode here.", r.bouncer.version)
		}
		var done pgbenchResult
		summary, err := r.traced(ctx, e, func() (err error) {
			done, err = r.runPgbench(ctx, e, db, 2*o.seconds, "-M", protocol, "-c", clients)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("system calls of %s: %w", e.name, err)
		}
		row, err := callsOf(e.name, summary, done.transactions)
		if err != nil {
			return nil, err
		}
		progress("system calls of %s: %.1f", e.name, row.Total)
		t.Calls = append(t.Calls, row)
	}
	return []*table{t}, nil
}

// traced has strace count the calls of a proxy during work, and returns its summary.
func (r *rig) traced(ctx context.Context, e *endpoint, work func() error) (string, error) {
	path := filepath.Join(r.dir, e.name+".strace")
	cmd := exec.CommandContext(ctx, "strace", "-c", "-f", "-o", path, "-p", strconv.Itoa(e.proc.cmd.Process.Pid))
	cmd.SysProcAttr = helperAttr()
	said, err := cmd.StderrPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("%w; `scripts/install-postgresql strace` installs it on Debian", err)
	}
	lines := bufio.NewScanner(said)
	if lines.Scan(); !strings.Contains(lines.Text(), "attached") {
		return "", errors.Join(fmt.Errorf("strace: %q", lines.Text()), cmd.Wait())
	}
	err = work()
	_ = cmd.Process.Signal(syscall.SIGINT) // fails only when it has ended
	for lines.Scan() {                     // says what it detaches from
		continue
	}
	_ = cmd.Wait() // it reports the signal
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

// The calls that move data or wait for it, by what they do.
var (
	readCalls  = []string{"read", "recvfrom", "recvmsg", "readv", "splice"}
	writeCalls = []string{"write", "sendto", "sendmsg", "writev"}
	waitCalls  = []string{"epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6"}
)

// callsOf reads strace's summary. Calls of which there is not one in twenty
// transactions are not named.
func callsOf(endpoint, summary string, transactions int) (callRow, error) {
	row := callRow{Endpoint: endpoint}
	var other []string
	for line := range strings.Lines(summary) {
		// % time, seconds, usecs/call, calls, errors where there are any, and the name.
		fields := strings.Fields(line)
		if len(fields) < 5 || fields[len(fields)-1] == "total" {
			continue
		}
		calls, err := strconv.Atoi(fields[3])
		if err != nil {
			continue // the head and its rule
		}
		each := float64(calls) / float64(transactions)
		row.Total += each
		switch name := fields[len(fields)-1]; {
		case slices.Contains(readCalls, name):
			row.Reads += each
			if failed, err := strconv.Atoi(fields[4]); err == nil {
				row.Empty += float64(failed) / float64(transactions)
			}
		case slices.Contains(writeCalls, name):
			row.Writes += each
		case slices.Contains(waitCalls, name):
			row.Waits += each
		case each >= 0.05:
			other = append(other, fmt.Sprintf("%.1f %s", each, name))
		}
	}
	if row.Total == 0 {
		return row, fmt.Errorf("strace: unexpected summary %q", summary)
	}
	row.Other = strings.Join(other, ", ")
	return row, nil
}

func (t *table) calls() *grid {
	g := &grid{words: 1, remarks: true}
	g.add("endpoint", "total", "reads", "of these of nothing", "writes", "waits", "other")
	for _, row := range t.Calls {
		line := []string{row.Endpoint}
		for _, n := range []float64{row.Total, row.Reads, row.Empty, row.Writes, row.Waits} {
			line = append(line, figure(n).format("%.2f"))
		}
		g.add(append(line, row.Other)...)
	}
	return g
}
