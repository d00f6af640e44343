package migrate

import (
	"slices"

	"pgshunt/configs"
	"pgshunt/feed"
)

// kind says how a Step is carried out.
type kind string

const (
	// onReplica is SQL on the replica, in one transaction with the journal.
	onReplica kind = ""
	// publish and unpublish add and remove a table of the publication, refresh makes the
	// subscription follow it, copied waits for the first copy of a table.
	publish   kind = "publish"
	unpublish kind = "unpublish"
	refresh   kind = "refresh"
	copied    kind = "copied"
	// bringTable, bringType, bringKeys make what the replica lacks from the primary's
	// catalogs: a table, a type, a table's constraints and indexes.
	bringTable kind = "table"
	bringType  kind = "type"
	bringKeys  kind = "keys"
	// dropped drops a table, with the foreign keys of fed tables to it.
	dropped kind = "drop"
	// generated adds a generated column as the primary has it.
	generated kind = "generated"
	// closed takes privileges from roles, aligned gives and takes all as the primary does.
	closed  kind = "close"
	aligned kind = "access"
	// fetched puts a new column in the place of its letter box with values of the primary, see
	// addFetched; caughtUp waits until everything of now is applied.
	fetched  kind = "fetch"
	caughtUp kind = "caught up"
	// valued puts a new column in the place of its letter box, see addMoment.
	valued kind = "value"
	// reworded has the publication forget how a condition was configured, see reword.
	reworded kind = "reword"
)

// Step is one thing that is done to a replica, or to the publication for its sake.
type Step struct {
	Kind kind   `json:"kind,omitempty"`
	What string `json:"what"`
	// SQL does it, Undo takes it back; Undo is "" where what is left does no harm.
	SQL  string `json:"sql,omitempty"`
	Undo string `json:"undo,omitempty"`
	// Table is the table, or the type, of the kinds that need one.
	Schema string `json:"schema,omitempty"`
	Name   string `json:"name,omitempty"`
	Column string `json:"column,omitempty"`
	// Privileges are what closed takes, as SQL, of Roles; nil is all that the primary has.
	Privileges string   `json:"privileges,omitempty"`
	Roles      []string `json:"roles,omitempty"`
	// Groups are roles in which somebody loses the membership: closed takes from all members.
	Groups []string `json:"groups,omitempty"`
	// Key are the columns by which fetched finds rows; Texts those of them whose type is no type of
	// PostgreSQL's own, and may have no operator that is found: they are compared as text.
	Key   []string `json:"key,omitempty"`
	Texts []string `json:"texts,omitempty"`
	// Type, Default, Mark and NotNull are of a column that is valued, or fetched.
	Type    string `json:"type,omitempty"`
	Default string `json:"default,omitempty"`
	Mark    string `json:"mark,omitempty"`
	NotNull bool   `json:"not_null,omitempty"`
}

// Order is what one statement needs on one replica. It is pure data, and is journalled.
type Order struct {
	// Before is done before the primary has the statement, After once it has and the
	// replica has applied everything up to there.
	Before []Step `json:"before,omitempty"`
	After  []Step `json:"after,omitempty"`
	// Between is done while Lock, tables of the primary in SQL, are locked there and the
	// replica has applied everything: before the statement, in the same transaction of
	// the primary.
	Between []Step   `json:"between,omitempty"`
	Lock    []string `json:"lock,omitempty"`
	// Applied is set where After has to wait.
	Applied bool `json:"applied,omitempty"`
	// Notes are for people.
	Notes []string `json:"notes,omitempty"`
	// text is set while the order is made where a binary subscription receives text meanwhile.
	text bool
}

func (o *Order) empty() bool { return len(o.Before)+len(o.After)+len(o.Between)+len(o.Notes) == 0 }

// Refusal says why a statement cannot be ordered, and what to do instead.
type Refusal struct{ Why, Advice string }

func (r *Refusal) Error() string { return r.Why + "; " + r.Advice }

// constraint is one of a table, or an index.
type constraint struct {
	Name, Def string
	// Type is pg_constraint.contype.
	Type    rune
	Columns []string
}

// situation is what is known of one replica, and of the primary as it concerns it, before
// the statement.
type situation struct {
	feed        configs.Feed
	name        string // of publication and subscription
	replicaName string
	selection   feed.Selection
	// primary and replica are tables by schema and name with a dot between.
	primary, replica map[string]*feed.Table
	// published are the tables of the publication; viaRoot, that partitions are published
	// as their root; binary, that the subscription is.
	published       map[string]bool
	viaRoot, binary bool
	// keys and replicaKeys are the constraints of tables, by table; indexes, by name, those
	// of the primary with the table they are of.
	keys, replicaKeys map[string][]constraint
	indexes           map[string]index
	// options holds the foreign table's columns with an option column_name, as table.column.
	options map[string]bool
	// copied are those that a feed of foreign tables has copied: they follow no change of their
	// definition until the next copy, but show no more than the primary.
	copied map[string]bool
	// users are the tables with a column of a type, by the type as format_type writes it.
	users map[string][]string
	// named are the columns that a configured condition on rows names, as table.column.
	named map[string]bool
	// parents are the primary's tables that others inherit from, other than partitions.
	parents map[string]bool
	// mark is a text that no value is, random and new for each statement; see box.
	mark string
	// settings are those that constants in the statement are read with.
	settings Settings
	// locks says how tables of the primary can be brought to rest for the statement.
	locks locks
	// recopy is set where tables may be copied anew.
	recopy bool
}

// locks is how a table of the primary is brought to rest for a statement.
type locks int

const (
	// locksNever: it cannot be.
	locksNever locks = iota
	// locksFirst: by a lock of the transaction that the statement is then sent in, by us.
	locksFirst
	// locksBehind: by a lock that the statement, a client's own, waits behind; see behind.
	locksBehind
)

type index struct {
	table  string
	unique bool
	def    string
}

// fed tells whether the replica has the table from the primary.
func (s *situation) fed(table string) bool {
	t := s.primary[table]
	if t == nil || s.replica[table] == nil {
		return false
	}
	switch s.feed {
	case configs.FeedLogical:
		return s.published[table] || t.Partition() && (s.published[t.ParentSchema+"."+t.ParentName] || s.viaRoot) || t.Kind == 'p' && s.divided(table)
	case configs.FeedDump:
		return s.selection.Has(t.Schema, t.Name) && s.replica[table].Kind != 'f'
	case configs.FeedFDW:
		return s.selection.Has(t.Schema, t.Name) && s.replica[table].Kind == 'f'
	}
	return false
}

// divided tells whether partitions of a table are published, or would be if it had any.
func (s *situation) divided(table string) bool {
	any := false
	for name, t := range s.primary {
		if t.ParentSchema+"."+t.ParentName == table {
			if s.published[name] || t.Kind == 'p' && s.divided(name) {
				return true
			}
			any = true
		}
	}
	t := s.primary[table]
	return !any && s.selection.Has(t.Schema, t.Name)
}

// whole tells whether the replica finds rows of a table, or of a partition of it, by all of its columns.
// Then a column that only the replica has, with a value, has it find none: UPDATE and DELETE
// pass without an error.
func (s *situation) whole(table string) bool {
	t, r := s.primary[table], s.replica[table]
	if t == nil || r == nil {
		return false
	}
	for name, part := range s.primary {
		if t.Kind == 'p' && part.ParentSchema+"."+part.ParentName == table && s.whole(name) {
			return true
		}
	}
	return t.Kind == 'r' && t.Identity == 'f' && len(r.PrimaryKey) == 0 && len(r.IdentityColumns) == 0
}

// column tells whether a column of a fed table is fed.
func (s *situation) column(c *Change) bool {
	list := s.selection.Columns(c.Schema, c.Name)
	if list == nil {
		return true
	}
	for _, name := range list {
		if name == c.Column {
			return true
		}
	}
	return false
}

// orderOf is what a statement's changes, whose names are resolved, need on one replica. It
// is pure. The error is a *Refusal.
func orderOf(changes []Change, s *situation) (*Order, error) {
	o := new(Order)
	if s.feed != configs.FeedLogical && s.feed != configs.FeedDump && s.feed != configs.FeedFDW {
		return o, nil
	}
	for i := range changes {
		c := s.notNull(&changes[i])
		err := s.configured(c)
		switch {
		case err != nil:
		case c.Action == addColumn && goes(changes, c) && s.fed(c.table()):
			err = refuse("column %s of %s cannot be dropped and added in one statement", "use a statement for each", c.Column, c.table())
		case ofAccess(c):
			s.access(o, c)
		case c.Action == unknown:
			err = s.unknown(c)
		case s.feed == configs.FeedLogical:
			err = s.logical(o, c)
		default:
			err = s.follow(o, c)
		}
		if err != nil {
			return nil, err
		}
	}
	if o.text { // not before every column has the primary's type again
		o.After = append(o.After, Step{What: "receive binary again", SQL: s.setBinary(true)})
	}
	o.Applied = s.feed == configs.FeedLogical && slices.ContainsFunc(o.After, func(s Step) bool { return s.Kind != aligned })
	return o, nil
}

// notNull tells what DROP CONSTRAINT does where the constraint is a column's NOT NULL, as PostgreSQL 18
// has them; the replica's may be an older one.
func (s *situation) notNull(c *Change) *Change {
	if c.Action != dropConstraint {
		return c
	}
	k := find(s.keys[c.table()], c.Column)
	if k == nil || k.Type != 'n' {
		return c
	}
	one := *c
	one.Action, one.Column = dropNotNull, k.Columns[0]
	return &one
}

// goes tells whether the column of c is dropped by the same statement.
func goes(changes []Change, c *Change) bool {
	return slices.ContainsFunc(changes, func(other Change) bool {
		return other.Action == dropColumn && other.table() == c.table() && other.Column == c.Column
	})
}

// unknown refuses what cannot be ordered, where it is about fed tables.
func (s *situation) unknown(c *Change) error {
	switch {
	case c.Name == "": // a schema
		for name, t := range s.primary {
			if t.Schema == c.Schema && s.fed(name) {
				return refuse("%s of a schema with fed tables (%s) cannot be ordered", "change the tables one by one first", c.To, name)
			}
		}
		return nil
	case s.primary[c.table()] == nil:
		if !s.selection.Has(c.Schema, c.Name) || c.Schema == "" {
			return nil
		}
		return refuse("%s of a table that is to be fed (%s) cannot be ordered", "make the table with CREATE TABLE first and fill it with INSERT .. SELECT then", c.To, c.table())
	case c.IfExists || !s.fed(c.table()):
		return nil
	}
	return refuse("%s of fed table %s cannot be ordered", "leave the table out of the feed first (\"tables\" in the configuration, then \"pgshunt feed apply\"), change it, and feed it again", c.To, c.table())
}
