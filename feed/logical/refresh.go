package logical

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// Refresh makes right what Apply refuses to touch, and else does what Apply does: a feed
// whose slot or publication is gone is made anew, all its tables emptied and copied again;
// tables that hold rows of an earlier feed, or are fed in another part than is configured now,
// are emptied and copied again. Rows that no feed has brought stand against it. What follows the primary is left as it is; see [Resync]. The
// sequences are set.
func Refresh(ctx context.Context, run *feed.Run) error {
	return refresh(ctx, run, nil)
}

// Resync is Refresh, and also empties and copies again the tables that pick meets, whoever
// has brought their rows, while the others go on. It is an error if it meets none that is fed.
func Resync(ctx context.Context, run *feed.Run, pick func(schema, name string) bool) error {
	return refresh(ctx, run, pick)
}

func refresh(ctx context.Context, run *feed.Run, pick func(schema, name string) bool) error {
	s, err := open(ctx, run)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.lock(ctx); err != nil {
		return err
	}
	chosen := pick != nil
	if !chosen {
		pick = func(string, string) bool { return false }
	}
	found, all, err := s.check(ctx, pick)
	if err != nil {
		return err
	}
	if err := s.run.Block(found); err != nil {
		return err
	}
	if chosen && !slices.ContainsFunc(leaves(all), func(t *table) bool { return pick(t.Schema, t.Name) }) {
		return fmt.Errorf("none of the tables that are fed to %s is among the chosen ones; nothing was done", run.Replica.Name)
	}
	st, err := s.standing(ctx)
	if err != nil {
		return err
	}
	if st.sub != nil && st.broken(run.Name) != "" {
		run.Note(run.Target.Name, "%s", st.broken(run.Name))
		if err := s.discard(ctx, st); err != nil {
			return err
		}
		s.discarded = run.Print
		if st, err = s.standing(ctx); err != nil {
			return err
		}
	}
	if st.sub != nil {
		if err := s.withdraw(ctx, st, all, pick); err != nil {
			return err
		}
		if !run.Print {
			if st, err = s.standing(ctx); err != nil {
				return err
			}
		}
	}
	if err := s.empty(ctx, st, all); err != nil {
		return err
	}
	return s.apply(ctx, all, true)
}

// discard removes the subscription and the slot of a feed that cannot go on. The tables keep
// their rows until [session.empty].
func (s *session) discard(ctx context.Context, st *standing) error {
	if err := s.unsubscribe(ctx, st.sub); err != nil {
		return err
	}
	return s.dropSlots(ctx, st.sub)
}

// withdraw takes the tables that are to be copied again out of the publication and the
// subscription, whose other tables go on.
func (s *session) withdraw(ctx context.Context, st *standing, all []*table, pick func(schema, name string) bool) error {
	again := append(st.untold(all), publicationChange(st.publication, leaves(all)).altered...)
	for _, t := range leaves(all) {
		if _, subscribed := st.sub.states[t.Plain()]; subscribed && pick(t.Schema, t.Name) && !slices.Contains(again, t.Plain()) {
			again = append(again, t.Plain())
		}
	}
	if len(again) == 0 {
		return nil
	}
	if err := s.brought(ctx, again); err != nil {
		return err
	}
	var out []string
	for _, name := range again {
		if t, published := st.publication.tables[name]; published {
			out = append(out, t.sql)
		}
	}
	name := feed.Quote("", s.run.Name)
	if len(out) > 0 {
		err := s.run.Do(ctx, s.primary, feed.Step{
			On: s.run.Primary, What: "take tables that are copied again out of the publication", Next: busy,
			SQL: "ALTER PUBLICATION " + name + " DROP TABLE ONLY " + strings.Join(out, ", ONLY "),
		})
		if err != nil {
			return err
		}
	}
	if !st.sub.Enabled {
		if err := s.enable(ctx, "enable the subscription"); err != nil {
			return err
		}
	}
	return s.run.Do(ctx, s.target, feed.Step{
		On: s.run.Target, What: "take them out of the subscription", Next: busy,
		SQL: "ALTER SUBSCRIPTION " + name + " REFRESH PUBLICATION WITH (copy_data = false)",
	})
}

// referencedQuery lists the tables of $1 that tables outside of it refer to: TRUNCATE refuses them.
const referencedQuery = `SELECT DISTINCT confrelid FROM pg_constraint WHERE contype = 'f' AND confrelid = ANY ($1) AND conrelid <> ALL ($1)`

// empty removes the rows of all tables that are not subscribed. Its foreign keys are the
// primary's business: what refers to a row that goes is copied again or still there on the
// primary.
func (s *session) empty(ctx context.Context, st *standing, all []*table) error {
	wanted := make(map[string]bool)
	for _, t := range leaves(all) {
		_, subscribed := states(st)[t.Plain()]
		wanted[t.Plain()] = !subscribed && st.others[t.Plain()] == ""
	}
	there, err := feed.Tables(ctx, s.target, func(schema, name string) bool { return wanted[schema+"."+name] })
	if err != nil {
		return s.failed(s.run.Target, "read the tables", err)
	}
	filled := make(map[uint32]string)
	for _, t := range there {
		if t.Kind != 'r' {
			continue
		}
		some, err := one[bool](ctx, s.target, "SELECT EXISTS (SELECT FROM ONLY "+t.Qualified()+")")
		if err != nil {
			return s.failed(s.run.Target, "look into "+t.Plain(), err)
		}
		if some {
			filled[t.OID] = t.Qualified()
		}
	}
	if len(filled) == 0 {
		return nil
	}
	return s.remove(ctx, filled)
}

// remove empties tables in one transaction.
func (s *session) remove(ctx context.Context, filled map[uint32]string) error {
	var oids []uint32
	for oid := range filled {
		oids = append(oids, oid)
	}
	slices.Sort(oids)
	held, err := column[uint32](ctx, s.target, referencedQuery, oids)
	if err != nil {
		return s.failed(s.run.Target, "read the foreign keys", err)
	}
	var truncate, other []string
	for _, oid := range oids {
		if slices.Contains(held, oid) {
			other = append(other, "DELETE FROM ONLY "+filled[oid])
		} else {
			truncate = append(truncate, filled[oid])
		}
	}
	var all []string
	if len(other) > 0 {
		// As a replication worker does: the keys were checked on the primary.
		all = append(append(all, "SET LOCAL session_replication_role = 'replica'"), other...)
	}
	if len(truncate) > 0 {
		all = append(all, "TRUNCATE ONLY "+strings.Join(truncate, ", ONLY "))
	}
	return s.run.Do(ctx, s.target, feed.Step{
		On: s.run.Target, What: fmt.Sprintf("empty %d tables that are copied again", len(filled)), SQL: strings.Join(all, "; "), Next: busy,
	})
}

// unsubscribe drops the subscription without a word to the primary, which may not be there.
// The workers end with it.
func (s *session) unsubscribe(ctx context.Context, sub *subscription) error {
	if err := s.brought(ctx, slices.Collect(maps.Keys(sub.states))); err != nil { // else nobody would know afterwards
		return err
	}
	return s.run.Do(ctx, s.target, feed.Step{On: s.run.Target, What: "drop the subscription", SQL: unsubscribeSQL(s.run.Name), Next: busy})
}

// brought records whose rows are a feed's.
func (s *session) brought(ctx context.Context, tables []string) error {
	if s.run.Print {
		return nil
	}
	if err := s.run.Journal(ctx, s.target); err != nil {
		return err
	}
	return s.run.Brought(ctx, s.target, tables)
}

func unsubscribeSQL(name string) string {
	name = feed.Quote("", name)
	return "ALTER SUBSCRIPTION " + name + " DISABLE; ALTER SUBSCRIPTION " + name + " SET (slot_name = NONE); DROP SUBSCRIPTION " + name
}

// dropSlots drops the slot, and those of copies that were under way.
func (s *session) dropSlots(ctx context.Context, sub *subscription) error {
	if err := s.dropSlot(ctx, s.run.Name); err != nil {
		return err
	}
	names, err := s.copySlots(ctx, sub)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.dropSlot(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// copySlots names the slots on the primary that belong to copies of the subscription: by its
// number, and that of the replica's cluster. Without a subscription they are those of the
// replica's cluster for subscriptions that it does not have.
func (s *session) copySlots(ctx context.Context, sub *subscription) ([]string, error) {
	if s.primary == nil || s.target == nil {
		return nil, nil
	}
	system, err := one[int64](ctx, s.target, "SELECT system_identifier FROM pg_control_system()")
	if err != nil {
		if sqlstate(err) == codeNotAllowed {
			return nil, nil // nobody but the subscription itself knows them then
		}
		return nil, s.failed(s.run.Target, "read its system identifier", err)
	}
	living, err := column[int64](ctx, s.target, "SELECT oid::bigint FROM pg_subscription")
	if err != nil {
		return nil, s.failed(s.run.Target, "read the subscriptions", err)
	}
	if sub != nil {
		living = slices.DeleteFunc(living, func(oid int64) bool { return oid == int64(sub.OID) })
	}
	rows, err := s.primary.Query(ctx, `SELECT slot_name::text FROM pg_replication_slots WHERE database = current_database() AND plugin = 'pgoutput'
		AND slot_name ~ ('^pg_[0-9]+_sync_[0-9]+_' || $1::text || '$') AND split_part(slot_name::text, '_', 2)::bigint <> ALL ($2)`, fmt.Sprint(system), living)
	if err != nil {
		return nil, s.failed(s.run.Primary, "look for the slots of copies", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return names, s.failed(s.run.Primary, "look for the slots of copies", err)
}
