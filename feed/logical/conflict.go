package logical

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// conflict is what keeps a subscription from going on, found without the replica's log: the
// first transaction in the slot that the replica has not applied.
type conflict struct {
	*transaction
	// double are rows of the replica that have what only one row may have, and the transaction brings.
	double []doubleRow
	// absent are tables that the transaction changes, and lacking columns of them, that the replica
	// does not have.
	absent, lacking []string
}

// peekQuery reads the first transactions of the slot without taking them. It stops at the
// end of the transaction in which the number of changes is reached.
const peekQuery = `SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, 1000, 'proto_version', '1', 'publication_names', $2)`

// appliedQuery is up to where the replica has applied what came.
const appliedQuery = `SELECT coalesce((SELECT (remote_lsn - '0/0')::bigint FROM pg_replication_origin_status WHERE external_id = $1), 0)`

// origin is what the replica calls the subscription's place in the primary's WAL.
func origin(sub *subscription) string { return fmt.Sprintf("pg_%d", sub.OID) }

// conflict finds what cannot be applied, nil where the slot is in use or empty, or may not be read.
func (s *session) conflict(ctx context.Context, sub *subscription) *conflict {
	applied, err := one[int64](ctx, s.target, appliedQuery, origin(sub))
	if err != nil {
		applied = 0
	}
	next := s.peek(ctx, uint64(applied))
	if next == nil {
		return nil
	}
	c := &conflict{transaction: next}
	there, err := feed.Tables(ctx, s.target, func(string, string) bool { return true })
	if err != nil {
		return c
	}
	byName := feed.Index(there)
	const most = 100
	for i := range next.Changes {
		if i == most {
			break
		}
		change := &next.Changes[i]
		name := change.Relation.Schema + "." + change.Relation.Name
		t := byName[name]
		if t == nil {
			c.absent = added(c.absent, name)
			continue
		}
		for _, theirs := range change.Relation.Columns {
			if t.Column(theirs.Name) == nil {
				c.lacking = added(c.lacking, name+"."+theirs.Name)
			}
		}
		c.double = append(c.double, s.doubled(ctx, change, t)...)
	}
	return c
}

// added adds a text to those that are there, once.
func added(all []string, one string) []string {
	if slices.Contains(all, one) {
		return all
	}
	return append(all, one)
}

// peek reads the first transaction that ends after a position.
func (s *session) peek(ctx context.Context, applied uint64) *transaction {
	var found *transaction
	err := pgx.BeginFunc(ctx, s.primary, func(tx pgx.Tx) error {
		// A transaction of many rows is read whole: not for longer than this.
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = '10s'"); err != nil {
			return err
		}
		messages, err := column[[]byte](ctx, tx.Conn(), peekQuery, s.run.Name, feed.Quote("", s.run.Name))
		if err != nil {
			return err
		}
		d := decoder{relations: make(map[uint32]*relation)}
		for _, m := range messages {
			if err := d.take(m); err != nil {
				return err
			}
		}
		for _, one := range d.done {
			if one.After > applied {
				found = one
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil // the slot is in use, or there is nothing of it: then other findings have to do
	}
	return found
}

// lsn writes a position as PostgreSQL does.
func lsn(position uint64) string { return fmt.Sprintf("%X/%X", position>>32, uint32(position)) }

// summary says what the transaction does, table by table.
func (t *transaction) summary() string {
	verbs := map[byte]string{'I': "inserts", 'U': "updates", 'D': "deletes", 'T': "truncates"}
	count := make(map[string]int)
	var order []string
	for _, c := range t.Changes {
		what := verbs[c.Kind] + " in " + c.Relation.Schema + "." + c.Relation.Name
		if count[what] == 0 {
			order = append(order, what)
		}
		count[what]++
	}
	for i, what := range order {
		order[i] = fmt.Sprintf("%d %s", count[what], what)
	}
	return list(order)
}

// missing warns of changes that found no row, which PostgreSQL leaves out and counts from 18 on.
func (s *session) missing(ctx context.Context, p *problems, sub *subscription) error {
	if s.to < v18 {
		return nil
	}
	count, err := one[int64](ctx, s.target, "SELECT coalesce((SELECT confl_update_missing + confl_delete_missing FROM pg_stat_subscription_stats WHERE subid = $1), 0)", sub.OID)
	if err != nil || count == 0 {
		return s.failed(s.run.Target, "read the subscription's statistics", err)
	}
	p.warn("missing", fmt.Sprintf("%d rows that were changed or deleted on the primary were not here: somebody else has removed them", count),
		fmt.Sprintf("SELECT pg_stat_reset_subscription_stats(%d)", sub.OID), "after pgshunt feed verify --replica "+s.run.Replica.Name+" --repair, which finds and mends what differs")
	return nil
}
