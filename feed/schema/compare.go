package schema

import (
	"slices"
	"strings"

	"pgshunt/configs"
	"pgshunt/feed"
)

// Kinds of a Difference.
const (
	KindMissingTable  = "missing_table"   // the replica lacks it
	KindExtraTable    = "extra_table"     // the primary has it no more
	KindMissingColumn = "missing_column"  // the replica lacks it
	KindExtraColumn   = "extra_column"    // the primary has it no more, or never had
	KindRenamedColumn = "renamed_column"  // taken for a rename: see Difference.Note
	KindType          = "type"            // of a column
	KindCollation     = "collation"       // of a column
	KindNotNull       = "not_null"        // only one of them allows nulls
	KindGenerated     = "generated"       // computed in another way, or on one of them only
	KindIdentity      = "identity"        // GENERATED .. AS IDENTITY
	KindOrder         = "order"           // of the columns
	KindRelation      = "kind"            // a plain table here, a partitioned one there
	KindInheritance   = "inheritance"     // from tables that are fed, in the old style
	KindBound         = "bound"           // of a partition
	KindPartitionKey  = "partition_key"   // of a partitioned table
	KindPrimaryKey    = "primary_key"     // by which changes find their rows
	KindMissingType   = "missing_type"    // the replica lacks an enum, domain or composite type
	KindEnumLabels    = "enum_labels"     // of a type
	KindDomain        = "domain"          // type, NOT NULL or checks of a domain
	KindAttributes    = "type_attributes" // of a composite type
	KindPrivileges    = "privileges"      // of a role: see Access
	KindRowSecurity   = "row_security"    // on one of them only
	KindPolicy        = "policy"          // of row-level security
)

// Difference is one thing in which the replica's definition is not the primary's.
type Difference struct {
	// Schema and Table are the primary's names, Column is "" where it is about the table.
	Schema string `json:"schema"`
	Table  string `json:"table"`
	Column string `json:"column,omitempty"`
	// Role is whose privileges differ, as SQL; "" where it is not about privileges.
	Role string `json:"role,omitempty"`
	Kind string `json:"kind"`
	// Primary and Replica are what each has, in SQL's words, "" for nothing.
	Primary string `json:"primary"`
	Replica string `json:"replica"`
	// Repair are statements for the replica, in order; nil where no statement mends it, and
	// then Note says what does. After a kill in between, another comparison tells what is left.
	Repair []string `json:"repair,omitempty"`
	Note   string   `json:"note,omitempty"`
	// Destroys is set where the repair loses values or rows of the replica.
	Destroys bool `json:"destroys,omitempty"`
	// Matters is set where the difference stops the feed or makes answers wrong.
	Matters bool `json:"matters"`
}

// String says the difference in one line, without the table.
func (d Difference) String() string {
	var text strings.Builder
	if d.Column != "" {
		text.WriteString("column " + feed.Quote("", d.Column) + ": ")
	}
	text.WriteString(strings.ReplaceAll(d.Kind, "_", " "))
	if d.Role != "" {
		text.WriteString(" of " + d.Role)
	}
	text.WriteString(": ")
	text.WriteString(or(d.Primary, "nothing") + " on the primary, " + or(d.Replica, "nothing") + " here")
	if d.Note != "" {
		text.WriteString(" (" + d.Note + ")")
	}
	return text.String()
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// Compare tells in what the replica's tables differ from the primary's, as far as it is of
// importance to the feed: a foreign table has neither keys nor generated columns, and
// defaults are used by no feed. Tables are compared under their names, so of the replica
// only those are to be given that the feed has brought. The order is that of the primary's
// tables, partitions after what they are of, in each that of its columns; what the replica
// alone has comes last.
func Compare(primary, replica []*feed.Table, way configs.Feed) []Difference {
	c := &comparison{way: way, primary: feed.Index(primary), replica: feed.Index(replica), done: map[*feed.Table]bool{}, made: map[string]bool{}, told: map[string]bool{}}
	for _, p := range primary {
		c.table(p)
	}
	for _, r := range replica {
		if c.primary[r.Plain()] == nil {
			c.add(Difference{
				Schema: r.Schema, Table: r.Name, Kind: KindExtraTable, Replica: kindName(r), Matters: way == configs.FeedFDW,
				Repair: []string{"DROP " + kindWord(r) + " IF EXISTS " + r.Qualified()}, Destroys: r.Kind != 'f',
				Note: "the primary has dropped or renamed it",
			})
		}
	}
	return c.all
}

type comparison struct {
	way              configs.Feed
	primary, replica map[string]*feed.Table
	done             map[*feed.Table]bool // compared
	made             map[string]bool      // partitions that the repairs make
	told             map[string]bool      // types, by table
	all              []Difference
}

func (c *comparison) add(d Difference) { c.all = append(c.all, d) }

// logical tells whether changes are applied one by one.
func (c *comparison) logical() bool { return c.way == configs.FeedLogical }

func (c *comparison) foreign() bool { return c.way == configs.FeedFDW }

// table compares one table, after those that it is a partition of or inherits from: in this
// order the repairs can be made.
func (c *comparison) table(p *feed.Table) {
	if c.done[p] {
		return
	}
	c.done[p] = true
	if whole := c.primary[p.ParentSchema+"."+p.ParentName]; whole != nil && p.Partition() {
		c.table(whole)
	}
	for _, name := range p.Parents {
		if parent := c.primary[name]; parent != nil {
			c.table(parent)
		}
	}
	r := c.replica[p.Plain()]
	if r == nil {
		c.missing(p)
		return
	}
	if !c.foreign() && r.Kind != 'f' {
		c.shape(p, r)
	}
	if p.Partition() && r.Partition() {
		return // its columns and keys are its parent's
	}
	if !c.foreign() && r.Kind != 'f' {
		c.key(p, r)
	}
	before := len(c.all)
	c.columns(p, r)
	if len(r.Parents) > 0 && !c.foreign() {
		c.ofParents(p, r, before)
	}
	if !c.foreign() && r.Kind != 'f' {
		c.inheritance(p, r)
	}
}

// missing tells of a table that the replica lacks. A partition whose parent is there is made
// by hand, for it takes no more than its bound.
func (c *comparison) missing(p *feed.Table) {
	d := Difference{Schema: p.Schema, Table: p.Name, Kind: KindMissingTable, Primary: kindName(p), Matters: true}
	if p.Partition() {
		parent := c.replica[p.ParentSchema+"."+p.ParentName]
		whole := c.primary[p.ParentSchema+"."+p.ParentName]
		switch {
		case c.foreign():
			return // reached through its root
		case parent != nil && parent.Kind != 'p':
			return // its rows are the one table's there
		case parent != nil || whole != nil && c.made[whole.Plain()]:
			c.made[p.Plain()] = true
			d.Primary = "a partition " + p.Bound
			d.Repair = []string{createPartition(p)}
			d.Note = "rows that it has are to be copied"
		case whole != nil:
			d.Note = "comes with " + whole.Plain()
		}
	}
	if d.Note == "" {
		d.Note = "run pgshunt feed apply; a renamed table is a new one there"
	}
	c.add(d)
}

// shape compares what tables have besides columns.
func (c *comparison) shape(p, r *feed.Table) {
	at := Difference{Schema: p.Schema, Table: p.Name}
	if p.Kind != r.Kind {
		at.Kind, at.Primary, at.Replica = KindRelation, kindName(p), kindName(r)
		c.add(at)
		return
	}
	if p.PartitionKey != r.PartitionKey {
		d := at
		d.Kind, d.Primary, d.Replica = KindPartitionKey, p.PartitionKey, r.PartitionKey
		d.Note = "the table is to be made anew"
		c.add(d)
	}
	if partitionOf(p) != partitionOf(r) {
		d := at
		d.Kind, d.Primary, d.Replica, d.Matters = KindBound, partitionOf(p), partitionOf(r), c.logical()
		if r.Partition() {
			d.Repair = append(d.Repair, "ALTER TABLE "+feed.Quote(r.ParentSchema, r.ParentName)+" DETACH PARTITION "+r.Qualified())
		}
		if p.Partition() {
			d.Repair = append(d.Repair, "ALTER TABLE "+feed.Quote(p.ParentSchema, p.ParentName)+" ATTACH PARTITION "+p.Qualified()+" "+p.Bound)
		}
		c.add(d)
	}
}

// key compares what tells rows apart. A subscription finds the row of an update by the
// replica's primary key, and stops where there is none or the primary does not send it.
func (c *comparison) key(p, r *feed.Table) {
	if slices.Equal(p.PrimaryKey, r.PrimaryKey) {
		return
	}
	d := Difference{Schema: p.Schema, Table: p.Name, Kind: KindPrimaryKey, Primary: columnList(p.PrimaryKey), Replica: columnList(r.PrimaryKey)}
	for _, name := range r.PrimaryKey {
		if p.Identity != 'f' && !slices.Contains(p.IdentityColumns, name) {
			d.Matters = c.logical()
		}
	}
	if len(r.PrimaryKey) == 0 {
		d.Matters = c.logical() && p.Identity == 'd' && len(r.IdentityColumns) == 0
		d.Repair = []string{"ALTER TABLE " + p.Qualified() + " ADD PRIMARY KEY (" + columnList(p.PrimaryKey) + ")"}
	} else {
		d.Note = "drop the replica's primary key"
		if len(p.PrimaryKey) > 0 {
			d.Note += " and add the primary's"
		}
	}
	c.add(d)
}

// columnList writes columns as SQL has them between brackets.
func columnList(columns []string) string {
	quoted := make([]string, len(columns))
	for i, name := range columns {
		quoted[i] = feed.Quote("", name)
	}
	return strings.Join(quoted, ", ")
}

func kindName(t *feed.Table) string {
	switch {
	case t.Kind == 'p':
		return "a partitioned table"
	case t.Kind == 'f':
		return "a foreign table"
	}
	return "a table"
}

// kindWord is what ALTER and DROP call it.
func kindWord(t *feed.Table) string {
	if t.Kind == 'f' {
		return "FOREIGN TABLE"
	}
	return "TABLE"
}

func partitionOf(t *feed.Table) string {
	if !t.Partition() {
		return ""
	}
	return "a partition of " + t.ParentSchema + "." + t.ParentName + " " + t.Bound
}
