package feed

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

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
	return s.eligible(schema, name) && (len(s.patterns) == 0 || s.patterns.MatchQualified(schema, name))
}

// eligible tells whether a table may be fed, whatever the patterns say.
func (s Selection) eligible(schema, name string) bool {
	if schema == "pgml" || schema == JournalSchema || strings.HasPrefix(schema, JournalSchema+"_") {
		return false
	}
	return s.keep == nil || s.keep(schema, name)
}

// Excludes tells whether a pattern says that the table is not fed.
func (s Selection) Excludes(schema, name string) bool {
	excluding := slices.DeleteFunc(slices.Clone(s.patterns), func(p string) bool { return !strings.HasPrefix(p, "!") })
	return len(excluding) > 0 && !excluding.MatchQualified(schema, name)
}

// WithHeirs returns those of a server's tables that are selected, and those that inherit from
// them, which a query of them reads too. What a pattern excludes stays out.
func (s Selection) WithHeirs(all []*Table) []*Table {
	byName := Index(all)
	var comes func(t *Table) bool
	comes = func(t *Table) bool {
		if s.Has(t.Schema, t.Name) {
			return true
		}
		if !s.eligible(t.Schema, t.Name) || s.Excludes(t.Schema, t.Name) {
			return false
		}
		return slices.ContainsFunc(t.Parents, func(name string) bool { return byName[name] != nil && comes(byName[name]) })
	}
	return slices.DeleteFunc(slices.Clone(all), func(t *Table) bool { return !comes(t) })
}

// Selected returns those of a server's tables that the feed is for; with a copy heirs come along.
func (r *Run) Selected(all []*Table) []*Table {
	if r.Replica.Feed == configs.FeedDump {
		return r.Selection.WithHeirs(all)
	}
	return slices.DeleteFunc(slices.Clone(all), func(t *Table) bool { return !r.Selection.Has(t.Schema, t.Name) })
}

// Tables reads the tables of the primary that the feed is for, as [Tables] does.
func (r *Run) Tables(ctx context.Context, primary *pgx.Conn) ([]*Table, error) {
	all, err := Tables(ctx, primary, func(string, string) bool { return true })
	return r.Selected(all), err
}

// Only is the part of the selection that keep meets.
func (s Selection) Only(keep func(schema, name string) bool) Selection {
	s.keep = keep
	return s
}

// Columns is the list of columns that are fed, nil for all of them.
func (s Selection) Columns(schema, name string) []string { return s.columns[schema+"."+name] }

// FedColumns are the names of the columns of a table that are fed, nil where all are. A partition
// has those of the table that it is of; an heir lacks of what it inherits the columns that are
// not fed of its parents. byName has the tables that are fed, by schema and name.
func (s Selection) FedColumns(t *Table, byName map[string]*Table) []string {
	list := s.Columns(t.Schema, t.Name)
	if whole := byName[t.ParentSchema+"."+t.ParentName]; list == nil && whole != nil {
		return s.FedColumns(whole, byName)
	}
	for _, name := range t.Parents {
		parent := byName[name]
		if parent == nil {
			continue
		}
		theirs := s.FedColumns(parent, byName)
		if theirs == nil {
			continue
		}
		if list == nil {
			for _, c := range t.Columns {
				list = append(list, c.Name)
			}
		}
		list = slices.DeleteFunc(slices.Clone(list), func(c string) bool { return parent.Column(c) != nil && !slices.Contains(theirs, c) })
	}
	return list
}

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
