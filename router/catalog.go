package router

import (
	"reflect"
	"slices"

	"pgshunt/parser"
)

// Catalog is what is known of one database: which relations and functions the primary
// and each replica have, and where a replica's differ from the primary's. It is
// immutable and may be used by any number of goroutines. NewCatalog makes one.
//
// A nil Catalog knows nothing: every name is believed to exist wherever it is used.
//
// # What is kept
//
// Relations are grouped by name, all schemas together, since a name without a schema means
// the first schema of search_path that has it, on each server for itself. A group is
// kept where something about the name must be known:
//
//   - a relation of the group is not equal on the primary and on a replica: it is
//     missing, cannot be read, has other columns, row-level security or readers, or is there only
//   - it is a copy on a replica that else reads the primary
//   - one of them is a view, is written with effects on others, or has row-level security that
//     reads others
//
// A kept group has every schema in which any server has the name. A name that is not kept
// is the same on the primary and on every replica that was compared, except on those of
// few: there it cannot be read in any schema. So a hundred thousand relations that are
// equal everywhere cost nothing, and neither do a hundred thousand of which a replica has ten.
//
// Functions are all kept, by name in the same way, overloads together.
type Catalog struct {
	primary   uint64 // the bit of the primary
	known     uint64 // the targets that were compared, with the primary
	few       uint64 // those of them that have few of the primary's relations
	lacking   uint64 // those of them where some relation of the primary's is not as it is there
	relations map[string][]relation
	functions map[string][]routine
	// without are the targets whose pg_catalog has no function of a name that the primary's has.
	without map[string]uint64
	// hazards are what has effects that a statement does not show.
	hazards hazards
}

// Targets are sets of bits, each the index of a target in Fleet.Targets.

// relation is one relation of a kept group. has are the targets that have it, ready
// those where reading it gives what the primary would give, narrow those where it would
// but for some columns, which are in gaps.
type relation struct {
	schema, text string
	has, ready   uint64
	narrow       uint64
	// copied are the targets of a feed of foreign tables where it is a copy.
	copied uint64
	// barred are the targets where somebody may not use its schema, and so would find the
	// name in a later one of search_path.
	barred  uint64
	gaps    []gap
	touches bool
	// uses is what a view, or a table's row-level security, reads and calls in the end; else
	// nil. policed tells that it is the latter.
	uses    *closure
	policed bool
}

// gap is why one target that should have a relation is not ready for it. columns are
// those of the primary that it has not, or has with another type.
type gap struct {
	target  int
	kind    gapKind
	why     string
	columns []string
}

// gapKind says what would close a gap.
type gapKind uint8

const (
	gapAbsent   gapKind = iota // data must be fed
	gapColumns                 // a schema change is missing there
	gapSecurity                // row-level security or privileges must be made equal
	gapView                    // the view is another one there
	gapUnlooked                // nobody has looked yet
	gapStandby                 // another server is needed
)

// routine are the functions of one schema and name. volatility is the worst of them.
type routine struct {
	schema, text string
	has          uint64
	// other are the targets where one that the primary has computes something else, or is
	// missing beside others of its name.
	other      uint64
	volatility byte
	// hidden is set where the body of one was not read, and it is not of a language whose
	// authors promise what the label says (c, internal).
	hidden bool
	uses   *closure
	ofRow  bool
	hides  Hidden
}

// effects reports whether r may do more than compute.
func (r *routine) effects() bool {
	return r.volatility == 'v' || r.hidden || r.uses != nil && r.uses.unknown != ""
}

// closure is what a view or function reads and calls in the end, through all others.
type closure struct {
	reads []parser.Relation
	// pgml is the first thing of PostgresML that is used, "" if nothing is.
	pgml string
	// unknown is the first function that may have effects: volatile, or not known.
	unknown         string
	volatile, clock bool
	infers, models  bool
	system          bool
	traces          traces
	// project is the first project that is named as a constant.
	project string
}

// found is what a name means: the primary's relation, if it has one, and the replicas
// on which the same name means the same thing and can be read.
type found struct {
	relation *relation
	ready    uint64
	other    uint64 // the replicas where it means something else
	// only is set where replicas have the relation and the primary does not.
	only bool
}

// without returns the targets where the relation can be read as long as none of the
// columns that they lack is used. p.Columns are all that are, unless p.Star is set.
func (r *relation) without(p *parser.Part) (set uint64) {
	if p.Star {
		return 0
	}
	for i := range r.gaps {
		if g := &r.gaps[i]; g.kind == gapColumns && !slices.ContainsFunc(g.columns, func(c string) bool { return slices.Contains(p.Columns, c) }) {
			set |= 1 << g.target
		}
	}
	return set
}

// everywhere is the set of all targets.
const everywhere = ^uint64(0)

// find resolves r as a session with that search_path would, on every target.
func (c *Catalog) find(r parser.Relation, v *View) found {
	if c == nil {
		return found{ready: everywhere}
	}
	group, kept := c.relations[r.Name]
	if !kept {
		return found{ready: c.known &^ c.few}
	}
	if r.Schema != "" {
		for i := range group {
			if e := &group[i]; e.schema == r.Schema {
				return found{relation: e, ready: e.ready, only: e.has&c.primary == 0}
			}
		}
		return found{ready: everywhere} // nobody has it: any server says so
	}
	return c.search(group, v)
}

// search walks search_path. A target that has the name in an earlier schema than the
// primary means another relation by it, and one that has it in a later one too may, where
// the session's user may not use the first.
func (c *Catalog) search(group []relation, v *View) found {
	other, first := uint64(0), found{ready: everywhere}
	for at, schema := range v.SearchPath {
		for i := range group {
			e := &group[i]
			if e.schema != schema {
				continue
			}
			if e.has&c.primary != 0 {
				other |= e.barred & having(group, v.SearchPath[at+1:])
				return found{relation: e, ready: e.ready &^ other, other: other}
			}
			if first.relation == nil {
				first = found{relation: e, ready: e.ready, only: true}
			}
			other |= e.has
		}
	}
	return first
}

// having is the set of targets that have one of group in one of the schemas.
func having(group []relation, schemas []string) (set uint64) {
	for i := range group {
		if slices.Contains(schemas, group[i].schema) {
			set |= group[i].has
		}
	}
	return set
}

// routines are the functions of the name that call has, in all schemas; those that meets
// tells may be the one that is called.
func (c *Catalog) routines(call *parser.Call) []routine {
	if c == nil {
		return nil
	}
	return c.functions[call.Name]
}

// meets reports whether call may mean r. Without a schema all of search_path are looked
// through for the arguments that fit best, so that it may be a function of any of them.
func (r *routine) meets(call *parser.Call, v *View) bool {
	if call.Schema != "" {
		return r.schema == call.Schema
	}
	return v.searches(r.schema)
}

// ours reports whether the primary has a function that call may mean.
func (c *Catalog) ours(group []routine, call *parser.Call, v *View) bool {
	for i := range group {
		if group[i].has&c.primary != 0 && group[i].meets(call, v) {
			return true
		}
	}
	return false
}

// lone is the function that call means where the primary has none of them, the first of
// search_path; nil where none is known.
func (c *Catalog) lone(group []routine, call *parser.Call, v *View) *routine {
	var first *routine
	at := 0
	for i := range group {
		if r := &group[i]; r.meets(call, v) {
			if place := slices.Index(v.SearchPath, r.schema); first == nil || place < at {
				first, at = r, place
			}
		}
	}
	return first
}

// Equal reports whether both catalogs say the same.
func (c *Catalog) Equal(o *Catalog) bool { return c == o || reflect.DeepEqual(c, o) }

// Size is the number of relations and functions that are kept.
func (c *Catalog) Size() (relations, functions int) {
	if c == nil {
		return 0, 0
	}
	for _, group := range c.relations {
		relations += len(group)
	}
	for _, group := range c.functions {
		functions += len(group)
	}
	return relations, functions
}

// Knows reports whether the target at that index of Fleet.Targets was compared.
func (c *Catalog) Knows(target int) bool { return c != nil && c.known>>target&1 != 0 }
