package logical

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// conflict is what keeps a subscription from going on, found without the replica's log: the
// first transaction in the slot that the replica has not applied.
type conflict struct {
	*transaction
	// double are rows that the transaction inserts and the replica has.
	double []doubleRow
}

type doubleRow struct {
	table string // as SQL
	where string // its key, as a condition in SQL
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
	for i, change := range next.Changes {
		if i == most {
			break
		}
		t := byName[change.Relation.Schema+"."+change.Relation.Name]
		if change.Kind != 'I' || t == nil {
			continue
		}
		where := change.key(t)
		if where == "" {
			continue
		}
		have, err := one[bool](ctx, s.target, "SELECT EXISTS (SELECT FROM ONLY "+t.Qualified()+" WHERE "+where+")")
		if err == nil && have {
			c.double = append(c.double, doubleRow{t.Qualified(), where})
		}
	}
	return c
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

// key is the condition that finds a row on the replica by its key there, "" where it has none
// or its values are not told.
func (c *rowChange) key(t *feed.Table) string {
	columns := t.PrimaryKey
	if len(columns) == 0 {
		columns = t.IdentityColumns
	}
	var all []string
	for _, name := range columns {
		for i, theirs := range c.Relation.Columns {
			if theirs.Name != name || i >= len(c.Row) || !c.Row[i].Known || c.Row[i].Null {
				continue
			}
			all = append(all, fmt.Sprintf("%s = %s::%s", feed.Quote("", name), feed.Literal(c.Row[i].Text), t.Column(name).Type))
		}
	}
	if len(all) != len(columns) || len(all) == 0 {
		return ""
	}
	return strings.Join(all, " AND ")
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

// conflictProblem tells of a subscription that does not go on: why, and the ways out.
func (s *session) conflictProblem(ctx context.Context, sub *subscription, failures int64) feed.Problem {
	p := feed.Problem{Server: s.run.Target.Name, Check: "conflict", Blocks: true}
	name := feed.Quote("", s.run.Name)
	c := s.conflict(ctx, sub)
	end := ""
	if c != nil {
		end = lsn(c.End)
	}
	logged := s.lastError(ctx, end)
	p.What = "the subscription does not go on"
	if failures > 0 {
		p.What += fmt.Sprintf(" (%d errors)", failures)
	}
	if logged.text != "" {
		p.What += ": " + logged.text
	}
	var notes []string
	if c == nil {
		end = logged.lsn
	} else {
		p.What += fmt.Sprintf("; the next transaction is %d, which ends at %s: %s", c.XID, end, c.summary())
		for i, row := range c.double {
			if i == 0 {
				p.What += fmt.Sprintf("; %s has the row already where %s", row.table, row.where)
				p.Remedy = "DELETE FROM " + row.table + " WHERE " + row.where
				continue
			}
			p.Remedy += "; DELETE FROM " + row.table + " WHERE " + row.where
		}
	}
	if p.Remedy != "" {
		notes = append(notes, "on the replica: the row there was not written by the feed")
	}
	switch {
	case end != "" && s.to >= v15:
		notes = append(notes, "to leave the whole transaction out, on the replica: ALTER SUBSCRIPTION "+name+" SKIP (lsn = '"+end+"')")
	case c != nil:
		notes = append(notes, fmt.Sprintf("to leave the whole transaction out, on the replica: ALTER SUBSCRIPTION %s DISABLE; then, once its worker has ended, SELECT pg_replication_origin_advance('%s', '%s'); ALTER SUBSCRIPTION %s ENABLE", name, origin(sub), lsn(c.After), name))
	}
	if !sub.Enabled {
		notes = append(notes, "then pgshunt feed apply --replica "+s.run.Replica.Name+", which enables it")
	} else {
		notes = append(notes, "it tries again by itself every few seconds")
	}
	if logged.text == "" {
		notes = append(notes, "the replica's log has the error")
	}
	p.Note = strings.Join(notes, "; ")
	return p
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
