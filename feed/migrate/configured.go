package migrate

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/logical"
)

// configured refuses what takes from a fed table a column by a name that the configuration has: the
// next run of the feed would not find it. The configuration is to be written first, since the feed must know
// at every moment what it is for.
func (s *situation) configured(c *Change) error {
	if c.Action != renameColumn && c.Action != dropColumn || !s.fed(c.table()) || s.primary[c.table()].Column(c.Column) == nil {
		return nil
	}
	key := ""
	switch list := s.selection.Columns(c.Schema, c.Name); {
	case slices.Contains(list, c.Column):
		key = "columns"
	case s.named[c.table()+"."+c.Column]:
		key = "where"
	default:
		return nil
	}
	advice := sprintf("write %s in place of %s there first (a running pgshunt reads it on SIGHUP), then send this again", c.To, c.Column)
	if c.Action == dropColumn {
		advice = sprintf("leave %s out there first, then send this again", c.Column)
		if s.feed == configs.FeedLogical { // PostgreSQL would not drop what the publication needs
			advice = sprintf("leave %s out there first, run \"pgshunt feed refresh --replica %s\", which copies the table anew, then send this again", c.Column, s.replicaName)
		}
	}
	return refuse("%q of replica %s in the configuration names column %s of %s", advice, key, s.replicaName, c.Column, c.table())
}

// conditions finds which columns that are to change the condition on a table's rows names. Nobody but
// a server can read it: the primary is asked by Parse whether it could without the name.
func conditions(ctx context.Context, primary *pgx.Conn, s *situation, changes []Change) (map[string]bool, error) {
	named := make(map[string]bool)
	for i := range changes {
		c := &changes[i]
		where, t := s.selection.Where(c.Schema, c.Name), s.primary[c.table()]
		if where == "" || t == nil || c.Action != renameColumn && c.Action != dropColumn {
			continue
		}
		if !strings.Contains(strings.ToLower(where), strings.ToLower(c.Column)) {
			continue
		}
		var list []string
		for _, column := range t.Columns {
			switch {
			case column.Name != c.Column:
				list = append(list, quoted(column.Name))
			case c.Action == renameColumn:
				list = append(list, quoted(column.Name)+" AS "+quoted(c.To))
			}
		}
		_, err := primary.Prepare(ctx, "", "SELECT FROM (SELECT "+strings.Join(list, ", ")+" FROM "+t.Qualified()+") AS "+quoted(t.Name)+" WHERE ("+where+")")
		if pg := (*pgconn.PgError)(nil); err != nil && !errors.As(err, &pg) {
			return nil, err
		}
		named[c.table()+"."+c.Column] = err != nil
	}
	return named, nil
}

// reword has the next run of a logical feed take the condition that the publication has, which follows the
// column's name, for the one that is configured now. It would copy the table anew for other words.
func (s *situation) reword(o *Order, c *Change) {
	if s.feed != configs.FeedLogical || s.selection.Where(c.Schema, c.Name) == "" {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.primary)) {
		for up := s.primary[name]; up != nil; up = s.primary[up.ParentSchema+"."+up.ParentName] {
			if t := s.primary[name]; up.Plain() == c.table() && s.published[name] {
				o.After = append(o.After, Step{Kind: reworded, What: "take the condition of " + name + " as it is configured", Schema: t.Schema, Name: t.Name})
			}
		}
	}
}

func (r *replica) reworded(ctx context.Context, s *Step) error {
	comment, err := find1(ctx, r.primary, "SELECT coalesce(obj_description(oid, 'pg_publication'), '') FROM pg_publication WHERE pubname = $1", r.run.Name)
	if err != nil {
		return err
	}
	step := feed.Step{On: r.run.Primary, What: s.What, Next: "run \"pgshunt feed migrate\", which goes on from here"}
	if without := logical.ForgetCondition(comment, s.Schema+"."+s.Name); without != comment {
		step.SQL = "COMMENT ON PUBLICATION " + quoted(r.run.Name) + " IS " + feed.Literal(without)
		return r.run.Do(ctx, r.primary, step)
	}
	r.run.Done(step)
	return nil
}
