package migrate

import (
	"slices"
	"strings"

	"pgshunt/feed"
)

// newTable orders tables that come: a new one is made on the replica, published and
// copied once the primary has it; a partition of a fed table is made on the replica first,
// since its rows are sent at once.
func (s *situation) newTable(o *Order, c *Change) error {
	switch {
	case c.Action == attachPartition:
		return s.attach(o, c)
	case s.primary[c.table()] != nil: // PostgreSQL complains, or has nothing to do
		return nil
	case c.Action == createPartition && s.fed(c.parent()):
		if !c.Constant {
			return refuse("the bounds of %s have to be worked out (%s)", "write them as constants", c.table(), c.Bound)
		}
		if s.replica[c.table()] == nil {
			o.Before = append(o.Before, Step{
				What: "make partition " + c.table(),
				SQL:  s.settings.sql() + "CREATE TABLE " + feed.Quote(c.Schema, c.Name) + " PARTITION OF " + feed.Quote(c.ParentSchema, c.ParentName) + " " + c.Bound,
				Undo: "DROP TABLE IF EXISTS " + feed.Quote(c.Schema, c.Name),
			})
		}
		if !s.viaRoot {
			if !s.published[c.parent()] {
				o.After = append(o.After, Step{Kind: publish, What: "publish " + c.table(), Schema: c.Schema, Name: c.Name})
			}
			o.After = append(o.After, Step{Kind: refresh, What: "take " + c.table() + " into the subscription"},
				Step{Kind: copied, What: "wait for the first copy of " + c.table(), Schema: c.Schema, Name: c.Name})
		}
		return nil
	case !s.selection.Has(c.Schema, c.Name):
		return nil
	}
	o.After = append(o.After,
		Step{Kind: bringTable, What: "make table " + c.table(), Schema: c.Schema, Name: c.Name},
		Step{Kind: publish, What: "publish " + c.table(), Schema: c.Schema, Name: c.Name},
		Step{Kind: refresh, What: "take " + c.table() + " into the subscription"},
		Step{Kind: copied, What: "wait for the first copy of " + c.table(), Schema: c.Schema, Name: c.Name},
		Step{Kind: bringKeys, What: "bring the constraints and indexes of " + c.table(), Schema: c.Schema, Name: c.Name})
	return nil
}

// attach follows a table that becomes a partition. If it is fed by itself it has its rows
// there, and goes on to get them by its own name, whether it is a partition yet or not.
func (s *situation) attach(o *Order, c *Change) error {
	switch {
	case !s.fed(c.parent()):
		return nil
	case !s.published[c.table()] || s.replica[c.table()] == nil || s.viaRoot:
		return refuse("the rows that %s has already would not reach the replica", "feed it by itself first (\"tables\" in the configuration, then \"pgshunt feed apply\"); or make it with CREATE TABLE .. PARTITION OF and INSERT the rows, which is replicated", c.table())
	case !c.Constant:
		return refuse("the bounds of %s have to be worked out (%s)", "write them as constants", c.table(), c.Bound)
	}
	o.After = append(o.After, Step{
		What: "attach " + c.table(), SQL: s.settings.sql() + "ALTER TABLE " + feed.Quote(c.ParentSchema, c.ParentName) + " ATTACH PARTITION " + feed.Quote(c.Schema, c.Name) + " " + c.Bound,
	})
	return nil
}

// moveTable renames a table, or moves it to another schema. Rows carry the table's name, so
// that it can change on the replica only while none is under way.
func (s *situation) moveTable(o *Order, c *Change) error {
	schema, name, err := s.newName(c)
	if name == "" || err != nil {
		return err
	}
	to, back := "RENAME TO "+quoted(c.To), "RENAME TO "+quoted(c.Name)
	if c.Action == setSchema {
		to, back = "SET SCHEMA "+quoted(c.To), "SET SCHEMA "+quoted(c.Schema)
	}
	if s.primary[c.table()].Kind == 'p' && !s.viaRoot { // rows carry the names of its partitions, which stay
		o.After = append(o.After, Step{What: "rename " + c.table(), SQL: roomIn(c) + alter(c, "%s", to)})
		s.moves(o, c)
		return nil
	}
	if c.AsIndex && s.locks == locksBehind { // it takes a weaker lock first, behind which writers pass
		return refuse("ALTER INDEX of a table, %s, cannot be ordered", sprintf("write ALTER TABLE %s RENAME TO %s", feed.Quote(c.Schema, c.Name), quoted(c.To)), c.table())
	}
	if err := s.stop(o, c, "a new name of fed table %s", true); err != nil {
		return err
	}
	o.Between = append(o.Between, Step{
		What: "rename " + c.table(), SQL: roomIn(c) + alter(c, "%s", to), Undo: "ALTER TABLE " + feed.Quote(schema, name) + " " + back,
	})
	s.moves(o, c)
	return nil
}

// newName is what a table is called after c; "" where PostgreSQL is sure to complain. The
// configuration has to say the same of it under its new name.
func (s *situation) newName(c *Change) (schema, name string, err error) {
	schema, name = c.Schema, c.To
	if c.Action == setSchema {
		schema, name = c.To, c.Name
	}
	switch {
	case !s.selection.Has(schema, name):
		return "", "", refuse("%s.%s would not be fed by the configuration", "add the new name to \"tables\" first", schema, name)
	case s.primary[schema+"."+name] != nil:
		return "", "", nil
	case s.replica[schema+"."+name] != nil:
		return "", "", refuse("the replica has a table %s.%s already", "drop it there, or rename it", schema, name)
	case !slices.Equal(s.selection.Columns(c.Schema, c.Name), s.selection.Columns(schema, name)), s.selection.Where(c.Schema, c.Name) != s.selection.Where(schema, name):
		return "", "", refuse("the configuration feeds a part of %s, and another of %s.%s", "write the same \"columns\" and \"where\" for the new name first", c.table(), schema, name)
	}
	return schema, name, nil
}

// roomIn makes the schema that a table moves to.
func roomIn(c *Change) string {
	if c.Action != setSchema {
		return ""
	}
	return "CREATE SCHEMA IF NOT EXISTS " + quoted(c.To) + "; "
}

// stop has the statement run while the table is locked on the primary and everything
// written to it has reached the replica. The subscription is paused from then on until
// the primary has committed, so that whatever is killed meanwhile nothing fails to apply.
// queues is set where the statement itself needs a lock on the table that lets nobody else have it.
func (s *situation) stop(o *Order, c *Change, what string, queues bool) error {
	t := s.primary[c.table()]
	switch {
	case s.locks == locksNever:
		return refuse(what+" needs a lock on the primary that a client's own statement does not take in time",
			"use \"pgshunt feed migrate -f FILE\"", c.table())
	case s.locks == locksBehind && (!queues || t.Kind == 'p'):
		return refuse(what+" needs its rows at rest, and a client's own statement waits for those who write them only where it takes that very table",
			"use \"pgshunt feed migrate -f FILE\"", c.table())
	}
	o.Lock = append(o.Lock, feed.Quote(c.Schema, c.Name))
	if len(o.Between) == 0 {
		o.Between = append(o.Between, Step{
			What: "pause the subscription", SQL: "ALTER SUBSCRIPTION " + quoted(s.name) + " DISABLE",
			Undo: "ALTER SUBSCRIPTION " + quoted(s.name) + " ENABLE",
		})
		o.After = append([]Step{{What: "let the subscription go on", SQL: "ALTER SUBSCRIPTION " + quoted(s.name) + " ENABLE"}}, o.After...)
	}
	return nil
}

// ofType orders changes of types that fed columns have.
func (s *situation) ofType(o *Order, c *Change) error {
	var users []string
	for _, table := range s.users[typeName(c.Schema, c.Name)] {
		if s.fed(table) {
			users = append(users, table)
		}
	}
	if len(users) == 0 {
		return nil
	}
	what := strings.Join(users, ", ")
	full := feed.Quote(c.Schema, c.Name)
	switch c.Action {
	case addLabel:
		place := ""
		if c.Neighbor != "" {
			place = " BEFORE " + feed.Literal(c.Neighbor)
			if c.After {
				place = " AFTER " + feed.Literal(c.Neighbor)
			}
		}
		o.Before = append(o.Before, Step{What: "add value " + c.Column + " to " + full, SQL: "ALTER TYPE " + full + " ADD VALUE IF NOT EXISTS " + feed.Literal(c.Column) + place})
	case renameLabel:
		for _, table := range users {
			t := s.primary[table]
			if err := s.stop(o, &Change{Schema: t.Schema, Name: t.Name}, "a new name of a value in fed table %s", false); err != nil {
				return err
			}
		}
		rename := "ALTER TYPE " + full + " RENAME VALUE %s TO %s"
		o.Between = append(o.Between, Step{
			What: "rename value " + c.Column, SQL: sprintf(rename, feed.Literal(c.Column), feed.Literal(c.To)),
			Undo: sprintf(rename, feed.Literal(c.To), feed.Literal(c.Column)),
		})
	case alterType, dropType:
		return refuse("type %s is that of columns of fed tables (%s), and its change cannot be ordered", "make a new type, and give the columns that type", full, what)
	}
	return nil
}
