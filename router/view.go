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
	// Snapshot is set in a transaction block of level REPEATABLE READ or SERIALIZABLE,
	// whose reads must all see one state of the data.
	Snapshot bool
	// ReadOnly is set in a transaction block that may not write.
	ReadOnly bool
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
	// Objects is what is known of the servers' objects; nil where nothing is.
	Objects *Objects
}

// Objects names objects that replicas have and the primary does not: views over
// pgml, tables that exist only for machine learning, functions that wrap pgml. Every
// relation and function is there under its own name with its schema.
type Objects struct {
	Relations, Functions map[parser.Relation]bool
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
	if f == nil {
		return nil
	}
	for i := range f.Targets {
		if f.Targets[i].Name == name {
			return &f.Targets[i]
		}
	}
	return nil
}

// relation reports whether r is known to be on replicas only.
func (o *Objects) relation(r parser.Relation, v *View) bool {
	return o != nil && resolves(o.Relations, r, v)
}

// function reports whether the called function is known to be on replicas only.
func (o *Objects) function(call *parser.Call, v *View) bool {
	return o != nil && resolves(o.Functions, parser.Relation{Schema: call.Schema, Name: call.Name}, v)
}

func resolves(known map[parser.Relation]bool, r parser.Relation, v *View) bool {
	if len(known) == 0 || r.Name == "" {
		return false
	}
	if r.Schema != "" {
		return known[r]
	}
	for _, schema := range v.SearchPath {
		if known[parser.Relation{Schema: schema, Name: r.Name}] {
			return true
		}
	}
	return false
}
