package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// pgbenchResult is what one run of pgbench has done.
type pgbenchResult struct {
	transactions int
	tps          float64
}

// runPgbench runs pgbench -S for some seconds. args are added to those of every run.
func (r *rig) runPgbench(ctx context.Context, e *endpoint, db string, seconds int, args ...string) (pgbenchResult, error) {
	length := time.Duration(seconds) * time.Second
	ctx, cancel := context.WithTimeout(ctx, 2*length+30*time.Second)
	defer cancel()
	args = append([]string{"-S", "-n", "-j", "1", "-T", strconv.Itoa(seconds)}, args...)
	out, err := r.client(ctx, r.pgbench, e, db, args...)
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("still running after %v", 2*length+30*time.Second)
		}
		return pgbenchResult{}, fmt.Errorf("pgbench: %w", err)
	}
	return parsePgbench(out)
}

var (
	processedLine = regexp.MustCompile(`(?m)^number of transactions actually processed: (\d+)`)
	failedLine    = regexp.MustCompile(`(?m)^number of failed transactions: (\d+)`)
	tpsLine       = regexp.MustCompile(`(?m)^tps = ([0-9.]+)`)
)

// parsePgbench reads the summary that pgbench prints. Transactions that failed
// make the whole run a failure: what is left would be no measurement.
func parsePgbench(out string) (res pgbenchResult, err error) {
	processed, tps := processedLine.FindStringSubmatch(out), tpsLine.FindStringSubmatch(out)
	if processed == nil || tps == nil {
		return res, fmt.Errorf("pgbench: unexpected output %q", out)
	}
	if failed := failedLine.FindStringSubmatch(out); failed != nil && failed[1] != "0" {
		return res, fmt.Errorf("pgbench: %s transactions failed", failed[1])
	}
	if res.transactions, err = strconv.Atoi(processed[1]); err != nil {
		return res, fmt.Errorf("pgbench: %w", err)
	}
	if res.tps, err = strconv.ParseFloat(tps[1], 64); err != nil {
		return res, fmt.Errorf("pgbench: %w", err)
	}
	if res.transactions == 0 {
		return res, errors.New("pgbench: not one transaction was done")
	}
	return res, nil
}
