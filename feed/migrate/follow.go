package migrate

import (
	"pgshunt/configs"
	"pgshunt/feed"
)

// follow orders a change for a replica that has a copy (dump) or foreign tables (fdw).
// Nothing breaks there while it differs; it follows once the primary has changed. The
// values of a copy come with its next refresh.
func (s *situation) follow(o *Order, c *Change) error {
	foreign := s.feed == configs.FeedFDW
	if c.Action == createTable || c.Action == createPartition {
		if s.primary[c.table()] == nil && s.selection.Has(c.Schema, c.Name) {
			if foreign {
				o.Notes = append(o.Notes, "\"pgshunt feed apply\" makes the foreign table of "+c.table())
			} else {
				o.Notes = append(o.Notes, "table "+c.table()+" comes with the next refresh")
			}
		}
		return nil
	}
	if c.Action == addLabel && len(s.users[typeName(c.Schema, c.Name)]) > 0 {
		return s.ofType(o, c)
	}
	if !s.fed(c.table()) {
		return nil
	}
	r := s.replica[c.table()]
	there := r.Column(c.Column)
	after := func(what, sql string) { o.After = append(o.After, Step{What: what, SQL: sql}) }
	table := feed.Quote(c.Schema, c.Name)
	change := alter
	if foreign {
		change = func(c *Change, format string, args ...any) string {
			return "ALTER FOREIGN TABLE " + table + " " + sprintf(format, args...)
		}
	}
	switch {
	case c.Action == addColumn && there == nil && s.primary[c.table()].Column(c.Column) == nil && s.column(c):
		if schema, name := userType(c.Type); name != "" {
			o.After = append(o.After, Step{Kind: bringType, What: "bring type " + c.Type, Schema: schema, Name: name})
		}
		value, set := "", ""
		if c.Default != "" && c.Constant && !foreign {
			value, set = " DEFAULT "+c.Default, s.settings.sql()
		}
		after("add column "+c.Column, set+change(c, "ADD COLUMN IF NOT EXISTS %s %s%s", quoted(c.Column), columnType(c), value))
		if c.NotNull && (foreign || value != "") { // else a copy's rows have no value until the next one
			after("set "+c.Column+" not null", change(c, "ALTER COLUMN %s SET NOT NULL", quoted(c.Column)))
		}
	case c.Action == dropColumn && there != nil:
		after("drop column "+c.Column, change(c, "DROP COLUMN IF EXISTS %s", quoted(c.Column)))
	case c.Action == renameColumn && there != nil:
		sql := change(c, "RENAME COLUMN %s TO %s", quoted(c.Column), quoted(c.To))
		if s.options[c.table()+"."+c.Column] {
			sql += "; " + change(c, "ALTER COLUMN %s OPTIONS (SET column_name %s)", quoted(c.To), feed.Literal(c.To))
		}
		after("rename column "+c.Column, sql)
	case c.Action == alterColumnType && there != nil:
		switch {
		case foreign || wider(there.Type, c.Type) || narrower(there.Type, c.Type):
			after("change the type of "+c.Column, change(c, "ALTER COLUMN %s TYPE %s", quoted(c.Column), columnType(c)))
		default:
			o.Notes = append(o.Notes, "the new type of "+c.table()+"."+c.Column+" comes with the next refresh")
		}
	case (c.Action == setNotNull || c.Action == dropNotNull) && there != nil && there.NotNull != (c.Action == setNotNull):
		word := "DROP"
		if c.Action == setNotNull {
			word = "SET"
		}
		after(c.Action, change(c, "ALTER COLUMN %s %s NOT NULL", quoted(c.Column), word))
	case c.Action == renameTable || c.Action == setSchema:
		return s.followMove(o, c, change)
	case c.Action == dropTable:
		if foreign {
			after("drop "+c.table(), "DROP FOREIGN TABLE IF EXISTS "+table)
		} else {
			o.After = append(o.After, Step{Kind: dropped, What: "drop " + c.table(), Schema: c.Schema, Name: c.Name})
		}
	case (c.Action == addConstraint || c.Action == createIndex) && !foreign:
		o.After = append(o.After, Step{Kind: bringKeys, What: "bring the constraints and indexes of " + c.table(), Schema: c.Schema, Name: c.Name})
	case c.Action == renameIndex && !foreign:
		o.After = append(o.After, renameIndexStep(c))
	case c.Action == dropConstraint && find(s.replicaKeys[c.table()], c.Column) != nil:
		after("drop constraint "+c.Column, change(c, "DROP CONSTRAINT IF EXISTS %s", quoted(c.Column)))
	}
	return nil
}

// followMove is a new name, or another schema.
func (s *situation) followMove(o *Order, c *Change, change func(*Change, string, ...any) string) error {
	schema, name, err := s.newName(c)
	if name == "" || err != nil {
		return err
	}
	sql := change(c, "RENAME TO %s", quoted(c.To))
	if c.Action == setSchema {
		sql = change(c, "SET SCHEMA %s", quoted(c.To))
	}
	if s.feed == configs.FeedFDW {
		option, value := "table_name", name
		if c.Action == setSchema {
			option, value = "schema_name", schema
		}
		sql = change(c, "OPTIONS (SET %s %s)", option, feed.Literal(value)) + "; " + sql
	} else { // how old the copy is goes by its name
		sql += "; UPDATE pgshunt.copies SET relation = " + feed.Literal(schema+"."+name) + " WHERE relation = " + feed.Literal(c.table())
	}
	o.After = append(o.After, Step{What: "rename " + c.table(), SQL: roomIn(c) + sql})
	s.moves(o, c)
	return nil
}
