package router

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"strings"
)

// NewCatalog compares what the primary has with what each replica has, all streams at
// once and each read once. Replicas that could not be asked are left out: what they
// have is not known then, and no relation is read there.
//
// It fails with the first error of a stream, or if one is out of order. The strings it
// keeps are those it was given.
func NewCatalog(primary Source, replicas ...Source) (*Catalog, error) {
	c := &Catalog{
		primary: 1 << primary.Target, known: 1 << primary.Target,
		relations: make(map[string][]relation), functions: make(map[string][]routine), without: make(map[string]uint64),
	}
	sources := append([]Source{primary}, replicas...)
	for i := range sources {
		s := &sources[i]
		if s.Target < 0 || s.Target > 63 {
			return nil, fmt.Errorf("target %d is not one of 64", s.Target)
		}
		if i > 0 && c.known&(1<<s.Target) != 0 {
			return nil, fmt.Errorf("target %d is given twice", s.Target)
		}
		c.known |= 1 << s.Target
		if s.Few && i > 0 {
			c.few |= 1 << s.Target
		}
		for _, name := range s.Lacking {
			c.without[name] |= 1 << s.Target
		}
	}
	build := builder{catalog: c, typed: make(map[string]string)}
	if err := build.compareRelations(sources); err != nil {
		return nil, err
	}
	if err := build.collectFunctions(sources); err != nil {
		return nil, err
	}
	build.closeOver()
	return c, nil
}

type builder struct {
	catalog *Catalog
	// views and bodies are what closeOver resolves, by the entry they belong to.
	views  []view
	bodies []body
	// typed are the columns whose types have a schema, by the name of their relation.
	typed map[string]string
}

// stream is a Source's rows, one ahead.
type stream[T any] struct {
	target uint64
	next   func() (T, error, bool)
	stop   func()
	row    T
	more   bool
	name   string
	key    func(*T) (name, schema string)
}

func newStream[T any](target int, rows iter.Seq2[T, error], key func(*T) (name, schema string)) *stream[T] {
	if rows == nil {
		rows = func(func(T, error) bool) {}
	}
	s := &stream[T]{target: 1 << target, key: key, more: true}
	s.next, s.stop = iter.Pull2(rows)
	return s
}

// advance reads the next row. Rows with the same key may follow each other.
func (s *stream[T]) advance() error {
	before := s.row
	row, err, ok := s.next()
	if !ok {
		s.more = false
		return nil
	}
	if err != nil {
		return err
	}
	s.row = row
	name, schema := s.key(&s.row)
	was, wasIn := s.key(&before)
	if order := cmp.Compare(name, was); order < 0 || order == 0 && schema < wasIn {
		return fmt.Errorf("%s.%s came after %s.%s: not in byte order of name and schema", schema, name, wasIn, was)
	}
	s.name = name
	return nil
}

// inStep reads several streams and calls each with the rows of one name at a time:
// those of the first stream, the second and so on. The rows are good until it returns.
func inStep[T any](streams []*stream[T], group func(name string, rows []T, of []uint64)) error {
	var failed error
	for _, s := range streams {
		defer s.stop()
		failed = errors.Join(failed, s.advance())
	}
	var rows []T
	var of []uint64
	for failed == nil {
		name, more := "", false
		for _, s := range streams {
			if s.more && (!more || s.name < name) {
				name, more = s.name, true
			}
		}
		if !more {
			return nil
		}
		rows, of = rows[:0], of[:0]
		for _, s := range streams {
			for s.more && s.name == name && failed == nil {
				rows, of = append(rows, s.row), append(of, s.target)
				failed = s.advance()
			}
		}
		if failed == nil {
			group(name, rows, of)
		}
	}
	return failed
}

func (b *builder) compareRelations(sources []Source) error {
	streams := make([]*stream[RelationFacts], len(sources))
	for i := range sources {
		streams[i] = newStream(sources[i].Target, sources[i].Relations,
			func(r *RelationFacts) (string, string) { return r.Name, r.Schema })
	}
	b.catalog.lacking |= b.catalog.few
	return inStep(streams, func(name string, rows []RelationFacts, of []uint64) {
		b.noteTypes(name, rows)
		if b.catalog.plain(rows, of) {
			return
		}
		b.keep(name, rows, of)
		for _, e := range b.catalog.relations[name] {
			if e.has&b.catalog.primary != 0 {
				b.catalog.lacking |= b.catalog.known &^ b.catalog.primary &^ e.ready
			}
		}
	})
}

// plain reports whether the rows of one name are what the catalog assumes of a name
// that it does not keep: the primary's, once for each replica that is not of few, and
// nothing that can be read on those of few.
func (c *Catalog) plain(rows []RelationFacts, of []uint64) bool {
	n := 0
	for ; n < len(rows) && of[n] == c.primary; n++ {
		if rows[n].View != nil || rows[n].Policies != nil || rows[n].Touches {
			return false
		}
	}
	ours, complete := rows[:n], c.primary
	for i := n; i < len(rows); {
		target, same := of[i], 0
		for ; i < len(rows) && of[i] == target; i++ {
			their := &rows[i]
			if target&c.few != 0 {
				if their.Absent == "" || their.View != nil || at(ours, their.Schema) < 0 {
					return false
				}
				continue
			}
			if same == n || their.Schema != ours[same].Schema || !alike(&ours[same], their) {
				return false
			}
			if n > 1 && their.Barred {
				return false // search_path may not mean the same there
			}
			same++
		}
		if same == n {
			complete |= target
		}
	}
	return complete&^c.few == c.known&^c.few
}

// at is the index of the row of that schema, or -1.
func at(rows []RelationFacts, schema string) int {
	return slices.IndexFunc(rows, func(r RelationFacts) bool { return r.Schema == schema })
}

func alike(our, their *RelationFacts) bool {
	return their.Absent == "" && !their.Copied && our.Columns == their.Columns && our.Security == their.Security &&
		(our.Readers == their.Readers || within(their.Readers, our.Readers)) && their.View == nil
}

// keep adds the group of one name to the catalog.
func (b *builder) keep(name string, rows []RelationFacts, of []uint64) {
	var group []relation
	var first []*RelationFacts // of the primary, else of the first that has it
	for i := range rows {
		r := &rows[i]
		e := slices.IndexFunc(group, func(e relation) bool { return e.schema == r.Schema })
		if e < 0 {
			e = len(group)
			group = append(group, relation{schema: r.Schema, text: r.Schema + "." + name})
			first = append(first, r)
		}
		entry, ours := &group[e], first[e]
		entry.has |= of[i]
		if r.Copied {
			entry.copied |= of[i]
		}
		switch {
		case of[i] == b.catalog.primary:
			entry.touches = r.Touches
			entry.ready |= of[i]
		case entry.has&b.catalog.primary == 0:
			entry.ready |= of[i] // there is nothing to compare it with
		default:
			if r.Barred {
				entry.barred |= of[i]
			}
			if g, differs := difference(ours, r); differs {
				g.target = bits.TrailingZeros64(of[i])
				entry.gaps = append(entry.gaps, g)
				if g.kind == gapColumns {
					entry.narrow |= of[i]
				}
			} else {
				entry.ready |= of[i]
			}
		}
	}
	for e := range group {
		entry := &group[e]
		for rest := b.catalog.known &^ entry.has; rest != 0 && entry.has&b.catalog.primary != 0; rest &= rest - 1 {
			entry.gaps = append(entry.gaps, gap{target: bits.TrailingZeros64(rest), kind: gapAbsent, why: notThere})
		}
		query := first[e].View
		if query == nil {
			query = first[e].Policies
			entry.policed = query != nil
		}
		if query != nil {
			b.views = append(b.views, view{name: name, schema: entry.schema, query: query})
		}
	}
	b.catalog.relations[name] = group
}

// notThere is why a relation that a replica lacks cannot be read there.
const notThere = "is not there"

// difference says what keeps their relation from being read in place of ours.
func difference(our, their *RelationFacts) (gap, bool) {
	switch {
	case their.Absent != "":
		return gap{kind: gapAbsent, why: their.Absent}, true
	case (our.View == nil) != (their.View == nil), our.View != nil && !sameQuery(our.View, their.View),
		our.Definition != their.Definition && our.Definition != "" && their.Definition != "":
		return gap{kind: gapView, why: "is defined in another way there"}, true
	case our.Security != their.Security:
		return gap{kind: gapSecurity, why: "has other row-level security there"}, true
	case our.Readers != their.Readers && !within(their.Readers, our.Readers):
		return gap{kind: gapSecurity, why: "may be read there by roles that may not read it on the primary"}, true
	case our.Columns != their.Columns:
		if columns, why := lacking(our.Columns, their.Columns); why != "" {
			return gap{kind: gapColumns, why: why, columns: columns}, true
		}
	}
	return gap{}, false
}

// lacking returns the primary's columns that theirs does not have, or has with another
// type, and a phrase about the first. Columns that only they have do no harm.
func lacking(ours, theirs string) (columns []string, why string) {
	lines := strings.Split(theirs, "\n")
	for line := range strings.SplitSeq(ours, "\n") {
		if line == "" || slices.Contains(lines, line) {
			continue
		}
		name := columnOf(line)
		columns = append(columns, strings.ReplaceAll(strings.Trim(name, `"`), `""`, `"`))
		switch {
		case why != "":
		case slices.ContainsFunc(lines, func(l string) bool { return columnOf(l) == name }):
			why = "has another type of column " + name + " there"
		default:
			why = "lacks column " + name + " there"
		}
	}
	return columns, why
}

// columnOf is the name in a line of RelationFacts.Columns, in quotes if it has them.
func columnOf(line string) string {
	end := 0
	for quoted := false; end < len(line) && (quoted || line[end] != ' '); end++ {
		quoted = quoted != (line[end] == '"')
	}
	return line[:end]
}

// within reports whether every role of theirs is one of ours.
func within(theirs, ours string) bool {
	allowed := strings.Split(ours, ",")
	if slices.Contains(allowed, "public") || theirs == "" {
		return true
	}
	for role := range strings.SplitSeq(theirs, ",") {
		whole, _, _ := strings.Cut(role, "(")
		if !slices.Contains(allowed, role) && !slices.Contains(allowed, whole) {
			return false
		}
	}
	return true
}
