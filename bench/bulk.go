package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// bulkPatience bounds one transfer.
const bulkPatience = 2 * time.Minute

// measureBulk fetches a whole table with psql, by COPY and by SELECT.
func measureBulk(ctx context.Context, r *rig, o options) ([]*table, error) {
	size, err := r.runPsql(ctx, r.endpoints[0], copyAccounts, true)
	if err != nil {
		return nil, err
	}
	t := &table{
		Title: fmt.Sprintf("Bulk transfer (psql, pgbench_accounts, %.0f MB of text)", float64(size)/1e6), Cell: "statement",
		Rate: "MB/s", RateForm: "%.0f", Cost: "CPU s/GB", CostForm: "%.2f",
	}
	t.note("A MB is one of the text that COPY gives, also for SELECT; the rates include psql's own work.")
	for _, statement := range [][2]string{{"COPY TO STDOUT", copyAccounts}, {"SELECT", "SELECT * FROM pgbench_accounts"}} {
		name, sql := statement[0], statement[1]
		c := cell{name: name, round: func(ctx context.Context, e *endpoint) (sample, error) {
			started := time.Now()
			_, err := r.runPsql(ctx, e, sql, false)
			return sample{float64(size) / 1e6 / time.Since(started).Seconds(), float64(size) / 1e9}, err
		}}
		res, err := compare(ctx, r.endpoints, c, o.rounds, 1)
		if err != nil {
			return nil, err
		}
		t.Rows = append(t.Rows, res.rows()...)
	}
	return []*table{t}, nil
}

const copyAccounts = "COPY pgbench_accounts TO STDOUT"

// runPsql runs one statement and throws its output away, counting it if asked to.
func (r *rig) runPsql(ctx context.Context, e *endpoint, sql string, count bool) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, bulkPatience)
	defer cancel()
	cmd := r.command(ctx, r.psql, e, database, "-qXAt", "-v", "ON_ERROR_STOP=1", "-c", sql)
	var said strings.Builder
	cmd.Stderr = &said
	var counted counter
	if count {
		cmd.Stdout = &counted // else to /dev/null, at no cost
	}
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("psql: %w: %s", err, strings.TrimSpace(said.String()))
	}
	if count && counted == 0 {
		return 0, fmt.Errorf("psql printed nothing for %q", sql)
	}
	return int64(counted), nil
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
