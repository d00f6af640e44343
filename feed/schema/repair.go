package schema

import (
	"strconv"
	"strings"

	"pgshunt/feed"
)

// Repairs are the statements of several differences, in order and each once. Tables differ
// by a type that they share; its repair is needed once.
func Repairs(all []Difference) (statements []string) {
	seen := make(map[string]bool)
	for _, d := range all {
		for _, sql := range d.Repair {
			if !seen[sql] {
				seen[sql] = true
				statements = append(statements, sql)
			}
		}
	}
	return statements
}

// alter begins a statement about a table of the replica.
func alter(r *feed.Table) string { return "ALTER " + kindWord(r) + " " + r.Qualified() + " " }

func alterColumn(r *feed.Table, col *feed.Column) string {
	return alter(r) + "ALTER COLUMN " + feed.Quote("", col.Name) + " "
}

// addColumn adds a column of the primary to the replica's table, without NOT NULL and
// without a default: what is applied has a value for it, and rows that are there may have
// none. Those get the value that the primary's older rows have, where it is known.
func addColumn(r *feed.Table, col *feed.Column) []string {
	sql := alter(r) + "ADD COLUMN IF NOT EXISTS " + feed.Quote("", col.Name) + " " + col.Type
	if col.Collation != "" {
		sql += " COLLATE " + col.Collation
	}
	switch {
	case r.Kind == 'f':
		return []string{sql}
	case col.Generated != 0:
		return []string{sql + " " + generation(col)}
	case col.Missing != nil:
		return []string{sql + " DEFAULT " + feed.Literal(*col.Missing), alterColumn(r, col) + "DROP DEFAULT"}
	}
	return []string{sql}
}

// changeType gives a column the type and the collation that it has on the primary.
func changeType(r *feed.Table, col *feed.Column) []string {
	sql := alterColumn(r, col) + "TYPE " + col.Type
	if col.Collation != "" {
		sql += " COLLATE " + col.Collation
	}
	if r.Kind == 'f' {
		return []string{sql}
	}
	return []string{sql + " USING " + feed.Quote("", col.Name) + "::" + col.Type}
}

// changeGenerated makes a column computed as the primary's is. A plain column cannot become
// a computed one, nor, before PostgreSQL 17, an expression another.
func changeGenerated(r *feed.Table, col, have *feed.Column) []string {
	if col.Generated == 0 {
		return []string{alterColumn(r, col) + "DROP EXPRESSION IF EXISTS"}
	}
	name := feed.Quote("", have.Name)
	return []string{alter(r) + "DROP COLUMN IF EXISTS " + name + ", ADD COLUMN " + name + " " + col.Type + " " + generation(col)}
}

func changeIdentity(r *feed.Table, col, have *feed.Column) []string {
	at := alterColumn(r, col)
	if col.Identity == 0 {
		return []string{at + "DROP IDENTITY IF EXISTS"}
	}
	how := strings.TrimSuffix(identity(col), " AS IDENTITY")
	if have.Identity != 0 {
		return []string{at + "SET " + how}
	}
	return []string{at + "SET NOT NULL, ALTER COLUMN " + feed.Quote("", col.Name) + " ADD " + identity(col)}
}

func createPartition(p *feed.Table) string {
	sql := "CREATE TABLE IF NOT EXISTS " + p.Qualified() + " PARTITION OF " + feed.Quote(p.ParentSchema, p.ParentName) + " " + p.Bound
	if p.PartitionKey != "" {
		sql += " PARTITION BY " + p.PartitionKey
	}
	return sql
}

// widens tells whether every value of one type is one of the other, unchanged.
func widens(from, to string) bool {
	if base, length, ok := sized(from); ok {
		if to == base || to == "text" && base == "character varying" {
			return true
		}
		other, more, ok := sized(to)
		return ok && other == base && more >= length
	}
	ranks := []string{"smallint", "integer", "bigint", "numeric"}
	a, b := -1, -1
	for i, name := range ranks {
		if name == from {
			a = i
		}
		if name == to {
			b = i
		}
	}
	return a >= 0 && a <= b || from == "character varying" && to == "text" || from == "real" && to == "double precision"
}

// sized takes a type with a length apart, as character varying(20).
func sized(name string) (base string, length int, ok bool) {
	base, rest, ok := strings.Cut(name, "(")
	if !ok || base != "character varying" && base != "bit varying" {
		return "", 0, false
	}
	length, err := strconv.Atoi(strings.TrimSuffix(rest, ")"))
	return base, length, err == nil
}
