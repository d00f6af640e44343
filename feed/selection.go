package feed

import (
	"strings"

	"pgshunt/configs"
)

// Selection says which tables a feed is for, and which of their columns and rows. It is
// read-only.
type Selection struct {
	patterns configs.Patterns
	columns  map[string][]string
	where    map[string]string
	keep     func(schema, name string) bool // nil keeps all
}

// NewSelection is the selection of a replica's configuration, which it keeps a part of.
func NewSelection(r *configs.Replica) Selection {
	return Selection{patterns: r.Tables, columns: r.Columns, where: r.Where}
}

// Has tells whether the table is fed; without a pattern every table is. Tables of pgml and
// of pgshunt itself never are.
func (s Selection) Has(schema, name string) bool {
	if schema == "pgml" || schema == JournalSchema || strings.HasPrefix(schema, JournalSchema+"_") {
		return false
	}
	if s.keep != nil && !s.keep(schema, name) {
		return false
	}
	return len(s.patterns) == 0 || s.patterns.MatchQualified(schema, name)
}

// Only is the part of the selection that keep meets.
func (s Selection) Only(keep func(schema, name string) bool) Selection {
	s.keep = keep
	return s
}

// Columns is the list of columns that are fed, nil for all of them.
func (s Selection) Columns(schema, name string) []string { return s.columns[schema+"."+name] }

// Where is the condition that rows must meet to be fed, in SQL over the table's columns; ""
// is all rows. It may stand between brackets: a comment at its end has its line feed.
func (s Selection) Where(schema, name string) string {
	where := s.where[schema+"."+name]
	if strings.Contains(where, "--") && !strings.HasSuffix(where, "\n") {
		where += "\n"
	}
	return where
}

// Partial tells whether only some columns or rows of the table are fed.
func (s Selection) Partial(schema, name string) bool {
	return s.Columns(schema, name) != nil || s.Where(schema, name) != ""
}
