package migrate

import (
	"context"
	"errors"
	"strings"

	"pgshunt/feed"
)

// errStuck means that a replica cannot get to where a new name begins.
var errStuck = errors.New("the subscription does not get on; \"pgshunt feed status\" says why")

// late makes the change of Between on a replica after the primary has changed, because whoever held
// the client's statement back was killed. The subscription goes on until it meets the new name,
// where it fails; then nothing with the old name is left, which is looked up in what
// the slot still has to send.
func (m *migration) late(ctx context.Context, r *replica) error {
	const tries = 5
	what := "change names where the new ones begin"
	for range tries {
		if err := r.settle(ctx); err != nil {
			return err
		}
		if _, err := r.conn.Exec(ctx, "ALTER SUBSCRIPTION "+quoted(r.run.Name)+" DISABLE"); err != nil {
			return r.wrong(what, err)
		}
		old, err := m.pending(ctx, r)
		if err != nil {
			return r.wrong(what, err)
		}
		if !old {
			return r.between(ctx, lockTries, phaseLive)
		}
	}
	_, err := r.conn.Exec(ctx, "ALTER SUBSCRIPTION "+quoted(r.run.Name)+" ENABLE")
	return r.wrong(what, errors.Join(errStuck, err))
}

// pending tells whether the slot of a paused subscription still has rows under the old names, or without a new column. Of
// each table whose rows come pgoutput tells the names first, in a message R.
func (m *migration) pending(ctx context.Context, r *replica) (bool, error) {
	const active = "SELECT 'yes' FROM pg_replication_slots WHERE slot_name = $1 AND active"
	for {
		busy, err := find1(ctx, m.primary, active, r.run.Name)
		if err != nil {
			return false, err
		}
		if busy == "" {
			break
		}
		if err := pause(ctx, attention); err != nil {
			return false, err
		}
	}
	for i := range r.entry.plan.Changes {
		c := &r.entry.plan.Changes[i]
		table := c.Schema + "\x00" + c.Name + "\x00"
		columns := []string{}
		if c.Action == renameColumn || c.Action == addColumn {
			columns = []string{"\x00" + c.Column + "\x00", "\x01" + c.Column + "\x00"}
		}
		old, err := find1(ctx, m.primary, `SELECT 'yes' FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', $2)
			WHERE get_byte(data, 0) = 82 AND substring(data FROM 6 FOR length($3::bytea)) = $3
			AND (cardinality($4::bytea[]) = 0 OR EXISTS (SELECT FROM unnest($4::bytea[]) name WHERE position(name IN substring(data FROM 6 + length($3))) > 0) = $5) LIMIT 1`,
			r.run.Name, feed.Quote("", r.run.Name), []byte(table), bytesOf(columns), c.Action != addColumn)
		if err != nil || old != "" {
			return old != "", err
		}
	}
	return false, nil
}

func bytesOf(texts []string) [][]byte {
	out := make([][]byte, len(texts))
	for i, text := range texts {
		out[i] = []byte(text)
	}
	return out
}

// isLate tells whether a row's primary has changed while the replica has not been changed at rest.
func (e *entry) isLate() bool {
	o := e.plan.Order
	return e.phase == phaseLive && len(o.Between) > 0 && e.step < len(o.Before)+len(o.Between)
}

// betweenSQL is what is done at rest, as one transaction.
func (o *Order) betweenSQL() (what, sql string) {
	var whats, sqls []string
	for i := range o.Between {
		whats, sqls = append(whats, o.Between[i].What), append(sqls, o.Between[i].SQL)
	}
	return strings.Join(whats, ", "), strings.Join(sqls, "; ")
}
