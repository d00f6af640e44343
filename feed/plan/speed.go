package plan

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// What a measurement of speed may cost the primary.
const (
	probeBytes   = 32 << 20
	probeTimeout = 3 * time.Second
	// enough is from how many bytes on a measurement says anything.
	enough = 1 << 20
)

// speed reads the beginning of a table by COPY, as a feed would, and returns how many bytes
// a second arrived. It returns 0 where the table is too small to tell, or cannot be read.
func speed(ctx context.Context, conn *pgx.Conn, t *feed.Table, columns []string) float64 {
	rows := int64(probeBytes)
	if t.Rows > 0 && t.Heap > 0 {
		rows = max(probeBytes*t.Rows/t.Heap, 1)
	}
	var names []string
	for _, c := range t.Columns {
		if columns == nil && c.Generated == 0 || slices.Contains(columns, c.Name) {
			names = append(names, feed.Quote("", c.Name))
		}
	}
	if len(names) == 0 {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, 2*probeTimeout)
	defer cancel()
	if _, err := conn.Exec(ctx, fmt.Sprintf("SET statement_timeout = %d", probeTimeout.Milliseconds())); err != nil {
		return 0
	}
	var n counter
	began := time.Now()
	// Cut off in the middle it has told enough.
	_, _ = conn.PgConn().CopyTo(ctx, &n, fmt.Sprintf("COPY (SELECT %s FROM ONLY %s LIMIT %d) TO STDOUT (FORMAT binary)", strings.Join(names, ", "), t.Qualified(), rows))
	if n < enough {
		return 0
	}
	return float64(n) / time.Since(began).Seconds()
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
