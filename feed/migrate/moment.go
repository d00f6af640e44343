package migrate

import (
	"context"
	"regexp"
	"strings"

	"pgshunt/feed"
)

// moments are the defaults that are one value for a whole statement, which PostgreSQL works out
// once and writes down for the rows that are there.
var moments = regexp.MustCompile(`(?i)^\(*(now\(\)|transaction_timestamp\(\)|statement_timestamp\(\)|current_timestamp|localtimestamp|current_date|current_time|localtime)(\(\d\))?\)*` +
	`( at time zone '[a-z0-9/_+-]*'(::text)?)?\)*(::(date|time|timestamp|timestamptz)(\(\d\))?)?\)*$`)

// momentTypes are those of the columns that may have such a default: of PostgreSQL's own, so
// that nobody's functions are called to read a value.
var momentTypes = regexp.MustCompile(`^(date|text|time(stamp)?(\(\d\))? with(out)? time zone)$`)

func momentary(c *Change) bool {
	return moments.MatchString(c.Default) && momentTypes.MatchString(c.Type)
}

// addMoment orders a new column whose default is the time of the statement. What the primary's
// older rows get is known only when it has been carried out. Until then the replica has a letter
// box by the column's name, of type text, which says of each row whether it has come with a
// value: it holds a mark if not. Then the column is made with the primary's value as that of all
// rows, which writes none, gets what was delivered, and takes the box's place.
func (s *situation) addMoment(o *Order, c *Change) {
	s.asText(o)
	o.Before = append(o.Before, Step{
		What: "make a letter box for " + c.Column, SQL: alter(c, "ADD COLUMN %s text DEFAULT %s", quoted(c.Column), feed.Literal(s.mark)),
		Undo: alter(c, "DROP COLUMN IF EXISTS %s", quoted(c.Column)),
	})
	o.After = append(o.After, Step{
		Kind: valued, What: "add column " + c.Column, Schema: c.Schema, Name: c.Name, Column: c.Column,
		Type: columnType(c), Default: c.Default, Mark: s.mark, NotNull: c.NotNull,
	})
}

// missingQuery is what a column's older rows have on the primary, as long as no statement has
// written them anew.
const missingQuery = `SELECT (a.attmissingval::text::text[])[1] FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = $3 AND a.attnum > 0 AND NOT a.attisdropped AND a.atthasmissing`

// valuedSQL puts the column in the place of its box. Where the primary's value is not known any
// more the rows have none, and a person is told.
func (r *replica) valuedSQL(ctx context.Context, s *Step) (string, error) {
	value, err := find1(ctx, r.primary, missingQuery, s.Schema, s.Name, s.Column)
	if err != nil {
		return "", err
	}
	const fresh = `"pgshunt_new"`
	table, column := feed.Quote(s.Schema, s.Name), quoted(s.Column)
	add := "ALTER TABLE " + table + " ADD COLUMN " + fresh + " " + s.Type
	if value == "" {
		r.run.Note(r.run.Target.Name, "what older rows of %s.%s have in column %s is not known any more, since something has written them anew on the primary; \"pgshunt feed verify --repair --table %[1]s.%[2]s\" brings it", s.Schema, s.Name, s.Column)
	} else {
		add += " DEFAULT " + feed.Literal(value) + "::" + s.Type
	}
	quiet, err := r.quiet(ctx, s)
	if err != nil {
		return "", err
	}
	sql := []string{
		add,
		quiet + "UPDATE " + table + " SET " + fresh + " = " + column + "::" + s.Type + " WHERE " + column + " IS DISTINCT FROM " + feed.Literal(s.Mark),
		"ALTER TABLE " + table + " DROP COLUMN " + column,
		"ALTER TABLE " + table + " RENAME COLUMN " + fresh + " TO " + column,
		"ALTER TABLE " + table + " ALTER COLUMN " + column + " SET DEFAULT " + s.Default,
	}
	if s.NotNull && value != "" {
		sql = append(sql, "ALTER TABLE "+table+" ALTER COLUMN "+column+" SET NOT NULL")
	}
	return strings.Join(sql, "; "), nil
}
