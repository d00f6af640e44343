package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// loadSnapshot finds out under which snapshot the table was copied, if that was recorded.
func (c *comparison) loadSnapshot(ctx context.Context) error {
	s := c.replica
	var have bool
	err := s.conn.QueryRow(ctx, "SELECT to_regclass('pgshunt.copies') IS NOT NULL").Scan(&have)
	if err == nil && have {
		err = s.conn.QueryRow(ctx, "SELECT coalesce(to_jsonb(c) ->> 'snapshot', '') FROM pgshunt.copies c WHERE relation = $1", c.primary.table.Plain()).Scan(&c.snapshot)
		if errors.Is(err, pgx.ErrNoRows) {
			err = nil
		}
	}
	if err == nil && c.snapshot != "" && c.primary.key != nil {
		c.report.Newer = 0
	}
	return s.failed("read the journal of", err)
}

// newerQuery tells of rows whether they were written after a snapshot was taken. xmin has 32
// bits of a transaction's 64; the rest is that of the present, or one less.
const newerQuery = ` AND NOT pg_visible_in_snapshot((n.next - ((n.next - t.xmin::text::bigint) % 4294967296 + 4294967296) % 4294967296)::text::xid8, `

// countNewer counts the differing rows that the primary has written since the copy.
func (c *comparison) countNewer(ctx context.Context, found map[string]pair) error {
	if c.snapshot == "" || c.primary.key == nil {
		return nil
	}
	var keys []string
	for k, one := range found {
		if one.primary != nil {
			keys = append(keys, k)
		}
	}
	for len(keys) > 0 {
		n := min(len(keys), keysAtOnce)
		var some int64
		err := c.primary.conn.QueryRow(ctx, "SELECT count(*) FROM "+c.primary.from()+
			", LATERAL (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next) n WHERE "+c.primary.among(keys[:n])+
			newerQuery+feed.Literal(c.snapshot)+"::pg_snapshot)", direct).Scan(&some)
		if err != nil {
			return c.primary.failed("look for new rows of", err)
		}
		c.report.Newer += some
		keys = keys[n:]
	}
	return nil
}

// explain says of the copy of a dump what its differences come from, as far as that is known.
func (c *comparison) explain() {
	r := c.report
	if r.Newer < 0 || r.Rows() == 0 {
		return
	}
	switch wrong := r.Missing + r.Changed - r.Newer; {
	case wrong > 0:
		r.Note = fmt.Sprintf("%d of the rows have not changed on the primary since the copy: the copy was written to, and --repair or pgshunt feed refresh mends it", wrong)
	case r.Extra > 0:
		r.Note = "what is extra was deleted on the primary since the copy, or was never there; pgshunt feed refresh brings the rest"
	default:
		r.Note = "all of that has changed on the primary since the copy; pgshunt feed refresh brings it"
	}
}
