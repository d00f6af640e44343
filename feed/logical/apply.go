package logical

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// Apply sets the feed up, or finishes what a run that was killed began, and returns when
// every table is on the replica and follows. Tables that the configuration has gained come
// in, those that it has lost go out; their rows stay on the replica.
func Apply(ctx context.Context, run *feed.Run) error {
	s, err := open(ctx, run)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.lock(ctx); err != nil {
		return err
	}
	found, all, err := s.check(ctx, nil)
	if err != nil {
		return err
	}
	if err := s.run.Block(found); err != nil {
		return err
	}
	return s.apply(ctx, all, false)
}

// apply does what Apply does, after the check. The sequences are set after a first copy, and
// with numbers also when there was nothing to be copied.
func (s *session) apply(ctx context.Context, all []*table, numbers bool) error {
	if err := s.run.Journal(ctx, s.target); err != nil {
		return err
	}
	if err := s.bring(ctx, all); err != nil {
		return err
	}
	st, err := s.standing(ctx)
	if err != nil {
		return err
	}
	// A slot cannot be read from before the publication was made; one that lost WAL is of no
	// use, and one that keeps much only makes work.
	const much = 256 << 20
	if st.sub == nil && st.slot != nil && (st.publication == nil || st.slot.lost() || !st.slot.Usable || st.slot.Retained > much) {
		if err := s.dropSlot(ctx, s.run.Name); err != nil {
			return err
		}
		st.slot = nil
	}
	if err := s.loosen(ctx, st, all); err != nil {
		return err
	}
	wanted := leaves(all)
	names := make([]string, len(wanted))
	for i, t := range wanted {
		names[i] = t.Plain()
	}
	// The check has seen that they are empty or a feed's.
	if err := s.brought(ctx, names); err != nil {
		return err
	}
	numbers = numbers || st.sub == nil || st.sub.DisableOnError || !st.sub.has(wanted)
	if err := s.publish(ctx, st, wanted); err != nil {
		return err
	}
	if err := s.makeSlot(ctx, st.slot); err != nil {
		return err
	}
	if err := s.attach(ctx, st, wanted); err != nil {
		return err
	}
	if s.run.Print {
		s.run.Tell(feed.Event{Status: feed.StatusWould, Server: s.run.Target.Name, Step: "wait until the rows of each table are copied", TablesTotal: len(wanted)})
		return nil
	}
	if err := s.watch(ctx, wanted); err != nil {
		return err
	}
	if err := s.tighten(ctx, all); err != nil {
		return err
	}
	if numbers {
		if err := s.sequences(ctx, all); err != nil {
			return err
		}
	}
	return s.settle(ctx)
}

// bring makes the tables on the replica and sees that they can take what comes.
func (s *session) bring(ctx context.Context, all []*table) error {
	// The keys have to be there before the rows: by them the changes that come meanwhile are applied.
	if err := schema.Bring(ctx, s.run, plain(all), schema.Indexes); err != nil {
		return err
	}
	there, err := feed.Tables(ctx, s.target, func(string, string) bool { return true })
	if err != nil {
		return s.failed(s.run.Target, "read the tables", err)
	}
	byName := feed.Index(there)
	if err := s.align(ctx, plain(all)); err != nil {
		return err
	}
	if err := s.secured(ctx, all); err != nil {
		return err
	}
	for _, t := range leaves(all) {
		have := byName[t.Plain()]
		if have == nil {
			if s.run.Print {
				continue
			}
			return &feed.Error{Server: s.run.Target.Name, Doing: "bring the tables", Err: fmt.Errorf("%s is not there", t.Plain()), Next: "make it by hand, as it is on the primary, and run this again"}
		}
		if err := s.fit(ctx, t, have); err != nil {
			return err
		}
	}
	return nil
}

// align has the replica's tables give what the primary's give.
func (s *session) align(ctx context.Context, tables []*feed.Table) error {
	theirs, err := schema.ReadRights(ctx, s.primary, tables)
	if err != nil {
		return s.failed(s.run.Primary, "read who may do what", err)
	}
	return schema.Align(ctx, s.run, theirs, s.primary, s.target, tables)
}

// fit sees that a table of the replica can take the rows: a row that changes must be found
// by what the primary sends, and columns that are not fed must do without a value.
func (s *session) fit(ctx context.Context, t *table, have *feed.Table) error {
	if len(have.PrimaryKey) == 0 && len(have.IdentityColumns) == 0 && !t.full {
		return &feed.Error{
			Server: s.run.Target.Name, Doing: "look at " + t.Plain(), Err: fmt.Errorf("it has no key by which a row that changes is found"),
			Next: "ALTER TABLE " + t.Qualified() + " ADD PRIMARY KEY (" + names(t.key) + ") there, and run this again",
		}
	}
	if t.columns == nil {
		return nil
	}
	var loose []string
	for _, c := range have.Columns {
		if c.NotNull && c.Default == "" && c.Identity == 0 && !slices.Contains(t.columns, c.Name) {
			loose = append(loose, "ALTER COLUMN "+feed.Quote("", c.Name)+" DROP NOT NULL")
		}
	}
	if len(loose) == 0 {
		return nil
	}
	return s.run.Do(ctx, s.target, feed.Step{
		On: s.run.Target, What: "let columns of " + t.Plain() + " that are not fed be empty", Next: busy,
		SQL: "ALTER TABLE " + t.Qualified() + " " + strings.Join(loose, ", "),
	})
}

// attach makes the subscription, or makes the one that is there go on with the tables that
// are published now.
func (s *session) attach(ctx context.Context, st *standing, wanted []*table) error {
	name := feed.Quote("", s.run.Name)
	if st.sub == nil {
		return s.subscribe(ctx, s.binary(ctx, wanted))
	}
	if err := s.reconnect(ctx, st.sub); err != nil {
		return err
	}
	if err := s.acknowledge(ctx, st.sub); err != nil {
		return err
	}
	if st.sub.Slot != s.run.Name {
		// Somebody has begun to remove it.
		err := s.run.Do(ctx, s.target, feed.Step{
			On: s.run.Target, What: "give the subscription its slot", Next: busy,
			SQL: "ALTER SUBSCRIPTION " + name + " SET (slot_name = " + feed.Literal(s.run.Name) + ")",
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
	step := feed.Step{On: s.run.Target, What: "tell the subscription which tables are published", Next: busy, SQL: "ALTER SUBSCRIPTION " + name + " REFRESH PUBLICATION WITH (copy_data = true)"}
	same := len(wanted) == len(st.sub.states)
	for _, t := range wanted {
		_, have := st.sub.states[t.Plain()]
		same = same && have
	}
	if same {
		s.run.Done(step)
		return nil
	}
	return s.run.Do(ctx, s.target, step)
}

// enable has the subscription's workers run.
func (s *session) enable(ctx context.Context, what string) error {
	return s.run.Do(ctx, s.target, feed.Step{On: s.run.Target, What: what, Next: busy, SQL: "ALTER SUBSCRIPTION " + feed.Quote("", s.run.Name) + " ENABLE"})
}

// binary tells whether the rows of the first copy may come as binary: from PostgreSQL 16 on
// a copy can, between servers of one version, of built-in types that are the same here and there.
func (s *session) binary(ctx context.Context, wanted []*table) bool {
	if s.on/10000 != s.to/10000 || s.to < v16 {
		return false
	}
	there, err := feed.Tables(ctx, s.target, func(string, string) bool { return true })
	if err != nil {
		return false // text is always right
	}
	byName := feed.Index(there)
	for _, t := range wanted {
		have := byName[t.Plain()]
		for _, c := range t.Columns {
			if c.Generated != 0 || t.columns != nil && !slices.Contains(t.columns, c.Name) {
				continue
			}
			// A type of a schema other than pg_catalog is written with a dot.
			if have == nil || have.Column(c.Name) == nil || have.Column(c.Name).Type != c.Type || strings.Contains(c.Type, ".") {
				return false
			}
		}
	}
	return true
}
