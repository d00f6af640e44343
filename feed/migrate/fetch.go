package migrate

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// fetchable tells whether what the primary has in a new column can be fetched by the key of each
// row: the replica's rows are found by it, and nobody's functions are called to read a value.
func (s *situation) fetchable(c *Change) bool {
	t, r := s.primary[c.table()], s.replica[c.table()]
	_, user := userType(c.Type)
	return user == "" && !settingTypes[strings.TrimSuffix(c.Type, "[]")] && len(s.rowKey(t)) > 0 && !s.whole(c.table()) && r.Kind == 'r' && t.Kind == 'r' && !t.Partition()
}

// settingTypes are those of PostgreSQL's own whose texts depend on the server.
var settingTypes = map[string]bool{
	"money": true, "regclass": true, "regtype": true, "regproc": true, "regprocedure": true, "regoper": true, "regoperator": true,
	"regrole": true, "regnamespace": true, "regconfig": true, "regdictionary": true, "regcollation": true,
}

// rowKey are the columns by which a row is told from all others.
func (s *situation) rowKey(t *feed.Table) []string {
	if t.Identity != 'f' && len(t.IdentityColumns) > 0 {
		return t.IdentityColumns
	}
	return t.PrimaryKey
}

// addFetched orders a new column of which each row gets a value that only the primary knows. Until it
// has them the replica has a letter box as in addMoment; then those that have not come
// with their rows are fetched by the key, and the column takes the box's place.
func (s *situation) addFetched(o *Order, c *Change) {
	t, texts := s.primary[c.table()], []string(nil)
	for _, name := range s.rowKey(t) {
		if _, user := userType(t.Column(name).Type); user != "" {
			texts = append(texts, name)
		}
	}
	s.asText(o)
	o.Before = append(o.Before, Step{
		What: "make a letter box for " + c.Column, SQL: alter(c, "ADD COLUMN %s text DEFAULT %s", quoted(c.Column), feed.Literal(s.mark)),
		Undo: alter(c, "DROP COLUMN IF EXISTS %s", quoted(c.Column)),
	})
	o.After = append(o.After, Step{
		Kind: fetched, What: "add column " + c.Column + " with the primary's values", Schema: c.Schema, Name: c.Name, Column: c.Column,
		Type: columnType(c), Mark: s.mark, Key: s.rowKey(t), Texts: texts,
	})
	if c.NotNull { // rows that the primary has deleted meanwhile lack a value until that is applied
		o.After = append(o.After, Step{Kind: caughtUp, What: "wait for what was written meanwhile"},
			Step{What: "set " + c.Column + " not null", SQL: alter(c, "ALTER COLUMN %s SET NOT NULL", quoted(c.Column))})
	}
	if c.Inline {
		o.After = append(o.After, Step{Kind: bringKeys, What: "bring the constraints of " + c.table(), Schema: c.Schema, Name: c.Name})
	}
}

// fetch puts the column in the place of its box. It is one transaction, during which the
// subscription waits where it comes to this table.
func (r *replica) fetch(ctx context.Context, s *Step, phase string, done int) error {
	const values, fresh = `pg_temp."pgshunt_values"`, `"pgshunt_new"`
	table, column, key := feed.Quote(s.Schema, s.Name), quoted(s.Column), make([]string, len(s.Key))
	same := make([]string, len(s.Key))
	for i, name := range s.Key {
		key[i] = quoted(name)
		same[i] = "t." + key[i] + " = v." + key[i]
		if slices.Contains(s.Texts, name) {
			same[i] = "t." + key[i] + "::text = v." + key[i] + "::text"
		}
	}
	keys := strings.Join(key, ", ")
	quiet, err := r.quiet(ctx, s)
	if err != nil {
		return r.wrong(s.What, err)
	}
	e := feed.Event{Status: feed.StatusStart, Server: r.run.Target.Name, Step: s.What, Table: s.Schema + "." + s.Name}
	r.run.Tell(e)
	err = patiently(ctx, func() error {
		return pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
			to := tx.Conn().PgConn()
			if _, err := to.Exec(ctx, "SET LOCAL lock_timeout = '"+lockPatience.String()+"'; LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE; "+
				"CREATE TEMPORARY TABLE pgshunt_values ON COMMIT DROP AS SELECT "+keys+", NULL::text AS pgshunt_value FROM "+table+" WITH NO DATA").ReadAll(); err != nil {
				return err
			}
			from, into := io.Pipe()
			sent := make(chan error, 1)
			go func() {
				// A table and no query: had somebody put a view in its place, its functions would run as our role.
				_, err := r.primary.PgConn().CopyTo(ctx, into, "COPY "+table+" ("+keys+", "+column+") TO STDOUT")
				_ = into.CloseWithError(err) // never fails
				sent <- err
			}()
			_, err := to.CopyFrom(ctx, from, "COPY "+values+" FROM STDIN")
			_ = from.CloseWithError(err) // so that the other end does not wait for a reader
			if other := <-sent; err == nil {
				err = other
			}
			if err != nil {
				return err
			}
			_, err = to.Exec(ctx, "ANALYZE "+values+"; "+quiet+
				"UPDATE "+table+" t SET "+column+" = v.pgshunt_value FROM "+values+" v WHERE "+strings.Join(same, " AND ")+" AND t."+column+" = "+feed.Literal(s.Mark)+"; "+
				"ALTER TABLE "+table+" ADD COLUMN "+fresh+" "+s.Type+"; "+
				"UPDATE "+table+" SET "+fresh+" = "+column+"::"+s.Type+" WHERE "+column+" IS DISTINCT FROM "+feed.Literal(s.Mark)+"; "+
				"ALTER TABLE "+table+" DROP COLUMN "+column+"; ALTER TABLE "+table+" RENAME COLUMN "+fresh+" TO "+column).ReadAll()
			if err == nil {
				_, err = tx.Exec(ctx, "UPDATE pgshunt.changes SET phase = $2, step = $3 WHERE id = $1", r.entry.id, phase, done)
			}
			return err
		})
	})
	if err != nil {
		return r.wrong(s.What, err)
	}
	r.entry.phase, r.entry.step = phase, done
	e.Status = feed.StatusDone
	r.run.Tell(e)
	return nil
}

// quiet is SQL after which the rest of the transaction fires no triggers of the replica's own: what we
// write are rows of the primary, where they have fired. It takes a right that not everybody has; who
// lacks it, and has such triggers, is told.
func (r *replica) quiet(ctx context.Context, s *Step) (string, error) {
	err := pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "SET LOCAL session_replication_role = replica")
		return err
	})
	if err == nil {
		return "SET LOCAL session_replication_role = replica; ", nil
	}
	if !forbidden(err) {
		return "", err
	}
	names, err := find1(ctx, r.conn, `SELECT string_agg(t.tgname, ', ') FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND NOT t.tgisinternal AND t.tgenabled = 'O' AND (t.tgtype & 16) <> 0 HAVING count(*) > 0`, s.Schema, s.Name)
	if err == nil && names != "" {
		r.run.Note(r.run.Target.Name, "triggers of %s.%s on the replica (%s) fire for every row while column %s is filled, since this role may not SET session_replication_role", s.Schema, s.Name, names, s.Column)
	}
	return "", err
}
