package router

import (
	"slices"

	"pgshunt/parser"
)

// View is what a decision may know about the session that asks.
type View struct {
	User, Database, Application string
	// SearchPath holds the schemas of the session's search_path, "$user" resolved.
	SearchPath []string
	// InTransaction is true inside a transaction block or an implicit one that has
	// already run something on the primary; Failed when that block is in status E.
	InTransaction, Failed bool
	// Pinned says why the session may not leave its backend, "" if it may;
	// PinnedTo is the name of the target it is pinned to.
	Pinned, PinnedTo string
	// Hint is the value of pgshunt.route ("", "primary", "replica", "replica:ml1").
	Hint string
	// Written holds the relations this transaction has written; WroteUnknown is set
	// after something whose writes the tree does not show (DO, CALL, unparsed text).
	Written      []parser.Relation
	WroteUnknown bool
	// Locked is set after a statement of this transaction that locks rows or relations: what
	// it reads next is meant to be what is locked.
	Locked bool
	// Snapshot is set in a transaction block of level REPEATABLE READ or SERIALIZABLE,
	// whose reads must all see one state of the data; Serializable in one of the latter.
	Snapshot, Serializable bool
	// ReadOnly is set in a transaction block that may not write; ReadsOnly where that is the session's
	// default, so that it could not write outside of the block either.
	ReadOnly, ReadsOnly bool
	// Begun is set in a ReadOnly one once something of it has run on the primary that may
	// have taken a snapshot there: it stays.
	Begun bool
	// Follows is the replica that a ReadOnly transaction runs on (Decision.Whole), "" for
	// none. FollowsFresh is what its snapshot is known to have; FollowsLost is set where the
	// snapshot is gone with its connection. Both matter where Snapshot is set.
	Follows      string
	FollowsFresh Freshness
	FollowsLost  bool
	// Temporary holds the temporary relations of a pinned session, as far as known.
	Temporary []parser.Relation
	// Cursor and Prepared give the decision made for a cursor or an SQL-level prepared statement.
	// Either may be nil.
	Cursor, Prepared func(name string) (Decision, bool)
}

// Fleet is an immutable snapshot of the configured servers and what is known about them.
// Whoever makes one anew (package fleet) copies what has changed and shares the rest.
type Fleet struct {
	Targets []Target
	// Catalogs holds what is known of each database, by the name that clients use. Where
	// one is missing no relation is known to be on any replica: plain reads stay on the
	// primary, and inference over tables is refused. With a nil map nobody looks at servers,
	// and names are believed.
	Catalogs map[string]*Catalog
}

// unlooked is what is known of a database that nobody has looked at yet.
var unlooked = new(Catalog)

// catalog is what is known of the session's database; nil where nobody looks at servers.
func (f *Fleet) catalog(v *View) *Catalog {
	if f == nil || f.Catalogs == nil {
		return nil
	}
	if c := f.Catalogs[v.Database]; c != nil {
		return c
	}
	return unlooked
}

// searches reports whether schema is in the session's search_path.
func (v *View) searches(schema string) bool { return slices.Contains(v.SearchPath, schema) }

// searchesFirst reports whether schema comes before every other schema of search_path
// but the user's own, which usually does not exist.
func (v *View) searchesFirst(schema string) bool {
	for _, s := range v.SearchPath {
		if s == schema {
			return true
		}
		if s != v.User {
			return false
		}
	}
	return false
}

// shadows reports whether other schemas come before pg_catalog, so that no name of a
// function or operator is surely PostgreSQL's own.
func (v *View) shadows() bool { return slices.Index(v.SearchPath, "pg_catalog") > 0 }

// hasReplicas reports whether any replica is configured, healthy or not.
func (f *Fleet) hasReplicas() bool {
	if f == nil {
		return false
	}
	for i := range f.Targets {
		if f.Targets[i].Replica {
			return true
		}
	}
	return false
}

// target returns the target of that name, or nil.
func (f *Fleet) target(name string) *Target {
	if i := f.index(name); i >= 0 {
		return &f.Targets[i]
	}
	return nil
}

// index is the place of the target of that name, or -1.
func (f *Fleet) index(name string) int {
	if f == nil {
		return -1
	}
	for i := range f.Targets {
		if f.Targets[i].Name == name {
			return i
		}
	}
	return -1
}

// primary is the production server, or nil.
func (f *Fleet) primary() *Target {
	for i := range f.Targets {
		if !f.Targets[i].Replica {
			return &f.Targets[i]
		}
	}
	return nil
}
