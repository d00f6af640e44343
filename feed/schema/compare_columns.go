package schema

import (
	"slices"

	"pgshunt/feed"
)

// columns compares the columns of two tables, by name.
func (c *comparison) columns(p, r *feed.Table) {
	renamed := renames(p, r)
	var extra []*feed.Column
	own := p.Dropped == 0 && !c.foreign()
	for i := range r.Columns {
		if col := &r.Columns[i]; p.Column(col.Name) == nil && !renamed.from(col) {
			extra = append(extra, col)
		}
	}
	for i := range p.Columns {
		col := &p.Columns[i]
		have := r.Column(col.Name)
		switch {
		case have != nil:
			c.column(p, r, col, have)
		case renamed[col] != nil:
			c.add(Difference{
				Schema: p.Schema, Table: p.Name, Column: col.Name, Kind: KindRenamedColumn, Matters: true,
				Primary: feed.Quote("", col.Name) + " " + col.Type, Replica: feed.Quote("", renamed[col].Name) + " " + renamed[col].Type,
				Repair: []string{alter(r) + "RENAME COLUMN " + feed.Quote("", renamed[col].Name) + " TO " + feed.Quote("", col.Name)},
				Note:   "taken for a rename, as type and place are the same; pgshunt feed verify tells whether the values are",
			})
			c.column(p, r, col, renamed[col])
		default:
			own = false
			c.add(c.missingColumn(p, r, col))
		}
	}
	for _, col := range extra {
		c.add(c.extraColumn(p, r, col, own))
	}
	if !sameOrder(p, r) {
		c.add(Difference{
			Schema: p.Schema, Table: p.Name, Kind: KindOrder, Primary: "its own", Replica: "another",
			Note: "nothing depends on it but SELECT * and INSERT without a list of columns",
		})
	}
}

// pairs are columns of the primary and what they were called before.
type pairs map[*feed.Column]*feed.Column

func (ps pairs) from(col *feed.Column) bool {
	for _, old := range ps {
		if old == col {
			return true
		}
	}
	return false
}

// renames finds columns that were renamed. The catalogs do not say so: a column is missing
// and there is one too many, at the same place and of the same type. A column that was
// dropped and another that was added would look so only at the very end of the table, where
// the gap that a dropped column leaves tells.
func renames(p, r *feed.Table) pairs {
	found := pairs{}
	for i := range min(len(p.Columns), len(r.Columns)) {
		now, old := &p.Columns[i], &r.Columns[i]
		if r.Column(now.Name) != nil || p.Column(old.Name) != nil || now.Type != old.Type || now.Collation != old.Collation || r.Kind != 'f' && now.Generated != old.Generated {
			continue
		}
		last := i == len(p.Columns)-1
		if last && i > 0 && now.Number-p.Columns[i-1].Number > 1 || last && i == 0 && now.Number > 1 {
			continue
		}
		found[now] = old
	}
	return found
}

func sameOrder(p, r *feed.Table) bool {
	last := -1
	for _, col := range p.Columns {
		at := slices.IndexFunc(r.Columns, func(have feed.Column) bool { return have.Name == col.Name })
		if at < 0 {
			continue
		}
		if at < last {
			return false
		}
		last = at
	}
	return true
}

func (c *comparison) missingColumn(p, r *feed.Table, col *feed.Column) Difference {
	d := Difference{
		Schema: p.Schema, Table: p.Name, Column: col.Name, Kind: KindMissingColumn, Primary: columnText(col), Matters: true,
		Repair: addColumn(r, col),
	}
	switch {
	case c.foreign() || col.Generated != 0:
	case col.Missing != nil:
		d.Note = "rows that are there get what the primary's older rows have"
	default:
		d.Note = "rows that are there have no value in it until pgshunt feed verify --repair or refresh"
	}
	return d
}

// extraColumn tells of a column that the primary lacks. Where the primary has never dropped
// one, and lacks no other, it is the replica's own: nothing but its NOT NULL is in the way.
func (c *comparison) extraColumn(p, r *feed.Table, col *feed.Column, own bool) Difference {
	d := Difference{
		Schema: p.Schema, Table: p.Name, Column: col.Name, Kind: KindExtraColumn, Replica: columnText(col),
		Repair:   []string{alter(r) + "DROP COLUMN IF EXISTS " + feed.Quote("", col.Name)},
		Destroys: !c.foreign() && col.Generated == 0, Note: "the primary has dropped or renamed it, or never had it",
	}
	switch {
	case c.foreign():
		d.Matters = true
	case c.logical() && col.NotNull && col.Default == "" && col.Identity == 0:
		d.Matters = true
		d.Note = "no row without it can be applied"
	}
	if !own {
		return d
	}
	d.Repair, d.Destroys = nil, false
	if d.Matters {
		d.Repair = []string{alterColumn(r, col) + "DROP NOT NULL"}
	} else {
		d.Note = "the replica's own: the primary has never dropped a column of this table"
	}
	return d
}

// column compares two columns of one name.
func (c *comparison) column(p, r *feed.Table, col, have *feed.Column) {
	at := Difference{Schema: p.Schema, Table: p.Name, Column: col.Name}
	if col.Type != have.Type {
		d := at
		d.Kind, d.Primary, d.Replica, d.Matters = KindType, col.Type, have.Type, true
		d.Repair = changeType(r, col)
		d.Destroys = !c.foreign() && !widens(have.Type, col.Type)
		c.add(d)
	} else if col.Collation != have.Collation {
		d := at
		d.Kind, d.Primary, d.Replica = KindCollation, or(col.Collation, "the type's own"), or(have.Collation, "the type's own")
		// Sorting that is left to the primary is relied on.
		d.Matters = c.foreign()
		d.Repair = changeType(r, col)
		c.add(d)
	} else {
		c.types(p, col, have)
	}
	if col.NotNull != have.NotNull {
		c.notNull(r, col, have, at)
	}
	if c.foreign() || r.Kind == 'f' {
		return
	}
	if col.Generated != have.Generated || col.Generated != 0 && col.Default != have.Default {
		d := at
		d.Kind, d.Primary, d.Replica, d.Matters = KindGenerated, generation(col), generation(have), true
		d.Repair = changeGenerated(r, col, have)
		if have.Generated == 0 || col.Generated != 0 {
			d.Note = "indexes of the column are lost; views that use it are in the way"
		}
		c.add(d)
	}
	if col.Identity != have.Identity {
		d := at
		d.Kind, d.Primary, d.Replica = KindIdentity, identity(col), identity(have)
		d.Repair = changeIdentity(r, col, have)
		c.add(d)
	}
}

func (c *comparison) notNull(r *feed.Table, col, have *feed.Column, at Difference) {
	d := at
	d.Kind, d.Primary, d.Replica = KindNotNull, nullText(col), nullText(have)
	switch {
	case col.NotNull:
		d.Repair = []string{alterColumn(r, col) + "SET NOT NULL"}
		d.Note = "fails as long as rows there have no value"
	case slices.Contains(r.PrimaryKey, col.Name):
		d.Matters = c.logical()
		d.Note = "it is in the replica's primary key"
	default:
		d.Matters = c.logical() || c.foreign()
		d.Repair = []string{alterColumn(r, col) + "DROP NOT NULL"}
	}
	c.add(d)
}

func nullText(col *feed.Column) string {
	if col.NotNull {
		return "NOT NULL"
	}
	return "NULL"
}

func generation(col *feed.Column) string {
	switch col.Generated {
	case 's':
		return "GENERATED ALWAYS AS (" + col.Default + ") STORED"
	case 'v':
		return "GENERATED ALWAYS AS (" + col.Default + ") VIRTUAL"
	}
	return "a plain column"
}

func identity(col *feed.Column) string {
	switch col.Identity {
	case 'a':
		return "GENERATED ALWAYS AS IDENTITY"
	case 'd':
		return "GENERATED BY DEFAULT AS IDENTITY"
	}
	return "a plain column"
}

func columnText(col *feed.Column) string {
	text := col.Type
	if col.Generated != 0 {
		text += " " + generation(col)
	}
	if col.NotNull {
		text += " NOT NULL"
	}
	return text
}
