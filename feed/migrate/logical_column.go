package migrate

import (
	"fmt"
	"slices"

	"pgshunt/feed"
)

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

// renameColumn orders a new name of a column. Rows carry the names of their columns, and
// nobody can change the replica's exactly between the last row with the old name and the
// first with the new one. So the replica gets a second column for a while, a letter box
// of type text under the new name, with a trigger that moves what is delivered there
// into the column itself. At rest it holds a mark that no value's text is, so that the
// trigger can tell a delivered NULL from nothing. When no row with the old name can come
// any more the letter box goes and the column takes its name.
func (s *situation) renameColumn(o *Order, c *Change) error {
	t, r := s.primary[c.table()], s.replica[c.table()]
	there := r.Column(c.Column)
	switch {
	case t.Column(c.Column) == nil || there == nil || t.Column(c.To) != nil || t.Partition(): // PostgreSQL complains
		return nil
	case r.Column(c.To) != nil:
		return refuse("%s has a column %s on the replica already", "drop it there, or rename it", c.table(), c.To)
	}
	defer s.reword(o, c)
	rename := alter(c, "RENAME COLUMN %s TO %s", quoted(c.Column), quoted(c.To))
	if t.Column(c.Column).Generated != 0 {
		o.After = append(o.After, Step{What: "rename column " + c.Column, SQL: rename})
		return nil
	}
	if r.Kind != 'r' || slices.Contains(t.IdentityColumns, c.Column) || slices.Contains(t.PrimaryKey, c.Column) || s.whole(c.table()) {
		if err := s.stop(o, c, "a new name of a column of a key, or of a table that is divided or has none (%s),", true); err != nil {
			return err
		}
		o.Between = append(o.Between, Step{What: "rename column " + c.Column, SQL: rename, Undo: alter(c, "RENAME COLUMN %s TO %s", quoted(c.To), quoted(c.Column))})
		return nil
	}
	s.asText(o)
	box := newBox(c, there.Type, s.mark)
	o.Before = append(o.Before, Step{What: "make a letter box for " + c.To, SQL: box.make(), Undo: box.remove()})
	o.After = append(o.After, Step{What: "rename column " + c.Column, SQL: box.remove() + "; " + rename})
	return nil
}

// asText has a binary subscription send text for a while: the replica's column has, for a
// while, another type than the primary's.
func (s *situation) asText(o *Order) {
	if !s.binary || o.text {
		return
	}
	o.text = true
	o.Before = append(o.Before, Step{What: "receive text", SQL: s.setBinary(false), Undo: s.setBinary(true)})
}

func (s *situation) setBinary(on bool) string {
	return sprintf("ALTER SUBSCRIPTION %s SET (binary = %t)", quoted(s.name), on)
}

// box is a letter box.
type box struct {
	c          *Change
	kind, mark string
	function   string
}

func newBox(c *Change, kind, mark string) *box {
	return &box{c: c, kind: kind, mark: mark, function: feed.Quote(feed.JournalSchema, "box_"+hash(c.table() + "." + c.Column)[:16])}
}

func (b *box) make() string {
	column, name := quoted(b.c.Column), quoted(b.c.To)
	return sprintf(`CREATE FUNCTION %[1]s() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS %[2]s; `,
		b.function, feed.Literal(sprintf("BEGIN IF NEW.%[1]s IS DISTINCT FROM %[2]s THEN NEW.%[3]s := NEW.%[1]s::%[4]s; NEW.%[1]s := %[2]s; END IF; RETURN NEW; END",
			name, feed.Literal(b.mark), column, b.kind))) +
		alter(b.c, "ADD COLUMN %s text DEFAULT %s; ", name, feed.Literal(b.mark)) +
		sprintf("CREATE TRIGGER pgshunt_box BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION %s(); ", feed.Quote(b.c.Schema, b.c.Name), b.function) +
		alter(b.c, "ENABLE ALWAYS TRIGGER pgshunt_box")
}

func (b *box) remove() string {
	return sprintf("DROP TRIGGER pgshunt_box ON %s; DROP FUNCTION %s(); ", feed.Quote(b.c.Schema, b.c.Name), b.function) +
		alter(b.c, "DROP COLUMN %s", quoted(b.c.To))
}

// alterColumn orders a new type. The replica's column must at every moment hold what
// the primary's has: a wider type comes there first, a narrower one last. What is
// neither would convert old rows in another way than new ones.
func (s *situation) alterColumn(o *Order, c *Change) error {
	from, there := s.primary[c.table()].Column(c.Column), s.replica[c.table()].Column(c.Column)
	if from == nil || there == nil || !s.column(c) || from.Type == c.Type && c.Using == "" && c.Collation == "" {
		return nil
	}
	to := alter(c, "ALTER COLUMN %s TYPE %s", quoted(c.Column), columnType(c))
	back := alter(c, "ALTER COLUMN %s TYPE %s", quoted(c.Column), from.Type)
	plain := c.Using == "" && (c.Collation == "" || from.Type == c.Type)
	switch {
	case plain && from.Type == c.Type: // another collation: no value changes
		o.After = append(o.After, Step{What: "change the collation of " + c.Column, SQL: to})
	case plain && there.Type == c.Type && wider(from.Type, c.Type): // somebody has done it already
	case plain && there.Type == from.Type && wider(from.Type, c.Type):
		s.asText(o)
		o.Before = append(o.Before, Step{What: "widen column " + c.Column, SQL: to, Undo: back})
	case plain && there.Type == from.Type && narrower(from.Type, c.Type):
		s.asText(o)
		o.After = append(o.After, Step{What: "narrow column " + c.Column, SQL: to})
	default:
		return s.copyAnew(o, c, Step{What: "change the type of " + c.Column, SQL: alter(c, "ALTER COLUMN %s DROP DEFAULT, ALTER COLUMN %s TYPE %s USING NULL", quoted(c.Column), quoted(c.Column), columnType(c))},
			"%s to %s converts the rows of %s in a way that the replica cannot follow",
			"add a column of the new type, fill it with UPDATE in batches, then drop the old one and rename the new", from.Type, c.Type, c.table())
	}
	return nil
}

// copyAnew takes the table out of the feed, lets the primary have the statement, and has the
// table copied again; change is done to the replica's empty table. It must have been asked for.
func (s *situation) copyAnew(o *Order, c *Change, change Step, why, advice string, args ...any) error {
	r := s.replica[c.table()]
	if !s.recopy || s.locks != locksFirst || r.Kind != 'r' || r.Partition() {
		if r.Kind == 'r' && !r.Partition() {
			advice += "; or have the table copied anew (\"pgshunt feed migrate --recopy\")"
		}
		return refuse(why, advice, args...)
	}
	s.typeOf(o, c)
	again := []Step{
		{Kind: publish, What: "publish " + c.table(), Schema: c.Schema, Name: c.Name},
		{Kind: refresh, What: "take " + c.table() + " into the subscription"},
		{Kind: copied, What: "wait for the copy of " + c.table(), Schema: c.Schema, Name: c.Name},
	}
	o.Before = append(o.Before,
		Step{Kind: unpublish, What: "take " + c.table() + " out of the publication", Schema: c.Schema, Name: c.Name},
		Step{Kind: refresh, What: "take " + c.table() + " out of the subscription"})
	empty := "TRUNCATE " + feed.Quote(c.Schema, c.Name)
	change.SQL = empty + "; " + change.SQL
	o.After = append(append(o.After, change), again...)
	return nil
}
