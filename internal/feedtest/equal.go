package feedtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/internal/cluster"
)

// contents are a table's rows: how many, the sum of their hashes, which no order changes,
// and the rows themselves while they are few.
type contents struct {
	rows  int64
	bytes int
	sum   [4]uint64
	lines []string
	rest  []byte // a line that has not ended yet
}

const (
	few    = 3000
	little = 16 << 20 // bytes
)

// Write takes a part of what COPY prints.
func (c *contents) Write(p []byte) (int, error) {
	n := len(p)
	for {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			c.rest = append(c.rest, p...)
			return n, nil
		}
		line := p[:i]
		if len(c.rest) > 0 {
			line = append(c.rest, line...)
			c.rest = c.rest[:0]
		}
		c.rows++
		c.bytes += len(line)
		hash := sha256.Sum256(line)
		for k := range c.sum {
			c.sum[k] += binary.LittleEndian.Uint64(hash[8*k:])
		}
		if c.rows <= few && c.bytes <= little {
			c.lines = append(c.lines, string(line))
		} else {
			c.lines = nil
		}
		p = p[i+1:]
	}
}

// same makes values look the same on every server.
const same = `SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = postgres; SET extra_float_digits = 3; SET bytea_output = hex; SET statement_timeout = 0`

// leavesQuery lists the tables that have rows of their own, with their columns.
const leavesQuery = `SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), n.nspname::text, c.relname::text,
	coalesce((SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped), '')
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind = 'r' AND c.relpersistence = ANY($1) AND n.nspname !~ '^(pg_|information_schema|pgml|pgshunt)' ORDER BY 1`

// Differences says in what the replica's tables differ from the primary's, nothing if they are
// equal. The servers must be at rest.
func (r *Rig) Differences(ctx context.Context, replica *Replica) ([]string, error) {
	from, err := Connect(ctx, r.Primary, Database)
	if err != nil {
		return nil, err
	}
	defer from.Close(context.WithoutCancel(ctx))
	to, err := Connect(ctx, replica.Cluster, Database)
	if err != nil {
		return nil, err
	}
	defer to.Close(context.WithoutCancel(ctx))
	kinds := []string{"p", "u"}
	if replica.Feed == "logical" {
		kinds = kinds[:1]
	}
	rows, err := from.Query(ctx, leavesQuery, kinds)
	if err != nil {
		return nil, err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Qualified, Schema, Name, Columns string }])
	if err != nil {
		return nil, err
	}
	var differences []string
	for _, t := range tables {
		copySQL := fmt.Sprintf("COPY (SELECT %s FROM %s) TO STDOUT", t.Columns, t.Qualified)
		want, err := read(ctx, r.Primary, from, copySQL)
		if err != nil {
			return nil, err
		}
		got, err := read(ctx, replica.Cluster, to, copySQL)
		if err != nil {
			differences = append(differences, err.Error())
			continue
		}
		if got.rows != want.rows || got.sum != want.sum {
			differences = append(differences, fmt.Sprintf("%s has %d rows on %s and %d on the primary%s", t.Qualified, got.rows, replica.Name, want.rows, example(want.lines, got.lines)))
		}
	}
	if len(tables) < r.filled {
		return nil, fmt.Errorf("only %d tables were compared", len(tables))
	}
	return differences, nil
}

func read(ctx context.Context, c *cluster.Cluster, conn *pgx.Conn, sql string) (*contents, error) {
	all := new(contents)
	if _, err := conn.PgConn().Exec(ctx, same).ReadAll(); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	if _, err := conn.PgConn().CopyTo(ctx, all, sql); err != nil {
		return nil, fmt.Errorf("%s: %w in %.200s", c.Name, err, sql)
	}
	return all, nil
}

// example names a row that only one side has.
func example(want, got []string) string {
	slices.Sort(want)
	slices.Sort(got)
	var text strings.Builder
	for _, side := range []struct {
		what      string
		have, not []string
	}{{"only on the primary", want, got}, {"only there", got, want}} {
		for _, line := range side.have {
			if _, found := slices.BinarySearch(side.not, line); !found {
				fmt.Fprintf(&text, "; %s: %.200q", side.what, line)
				break
			}
		}
	}
	return text.String()
}
