package migrate

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// step carries out one step and notes in the journal that it is done. Steps that are not one
// transaction with the journal look first whether they are needed.
func (r *replica) step(ctx context.Context, s *Step, phase string, done int) error {
	sql := s.SQL
	var err error
	switch s.Kind {
	case onReplica:
	case publish, unpublish:
		err = r.publication(ctx, s)
	case refresh:
		err = r.refresh(ctx, s)
	case copied:
		err = r.copied(ctx, s)
	case bringTable:
		return r.bringTable(ctx, s, phase, done)
	case fetched:
		return r.fetch(ctx, s, phase, done)
	case caughtUp:
		err = r.applied(ctx, 0)
	case bringType:
		sql, err = r.typeSQL(ctx, s)
	case bringKeys:
		sql, err = r.keysSQL(ctx, s)
	case generated:
		sql, err = r.generatedSQL(ctx, s)
	case valued:
		sql, err = r.valuedSQL(ctx, s)
	case dropped:
		sql, err = r.dropSQL(ctx, s)
	case closed:
		sql, err = r.closedSQL(ctx, s)
	case aligned:
		err = r.align(ctx, s)
	case reworded:
		err = r.reworded(ctx, s)
	}
	if err != nil {
		return r.wrong(s.What, err)
	}
	if s.Kind == publish || s.Kind == unpublish || s.Kind == refresh || s.Kind == copied || s.Kind == reworded {
		if _, err := r.conn.Exec(ctx, "UPDATE pgshunt.changes SET phase = $2, step = $3 WHERE id = $1", r.entry.id, phase, done); err != nil {
			return r.wrong(s.What, err)
		}
		r.entry.phase, r.entry.step = phase, done
		return nil
	}
	return r.transact(ctx, s.What, sql, phase, done)
}

// publication adds or removes a table.
func (r *replica) publication(ctx context.Context, s *Step) error {
	have, err := find1(ctx, r.primary, `SELECT 'yes' FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid
		JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = $1 AND n.nspname = $2 AND c.relname = $3`, r.run.Name, s.Schema, s.Name)
	if err != nil {
		return err
	}
	step := feed.Step{On: r.run.Primary, What: s.What, Next: "run \"pgshunt feed migrate\", which goes on from here"}
	if (have != "") == (s.Kind == publish) {
		r.run.Done(step)
		return nil
	}
	table := feed.Quote(s.Schema, s.Name)
	if s.Kind == unpublish {
		step.SQL = "ALTER PUBLICATION " + quoted(r.run.Name) + " DROP TABLE " + table
	} else {
		able, err := r.findable(ctx, s)
		if err != nil {
			return err
		}
		if !able {
			r.run.Note(r.run.Primary.Name, "%s.%s has no primary key, so that updates and deletes would fail once it is published; it is not fed until it has one, or REPLICA IDENTITY FULL, and \"pgshunt feed apply\" has been run", s.Schema, s.Name)
			return nil
		}
		step.SQL = "ALTER PUBLICATION " + quoted(r.run.Name) + " ADD TABLE " + table + r.part(s)
	}
	step.SQL = "SET lock_timeout = '" + lockPatience.String() + "'; " + step.SQL
	return patiently(ctx, func() error { return r.run.Do(ctx, r.primary, step) })
}

// part is what of a table is published.
func (r *replica) part(s *Step) (sql string) {
	if list := r.run.Selection.Columns(s.Schema, s.Name); list != nil {
		names := make([]string, len(list))
		for i, name := range list {
			names[i] = quoted(name)
		}
		sql = " (" + strings.Join(names, ", ") + ")"
	}
	if where := r.run.Selection.Where(s.Schema, s.Name); where != "" {
		sql += " WHERE (" + where + ")"
	}
	return sql
}

// findable tells whether rows of a table can be told apart on a subscriber.
func (r *replica) findable(ctx context.Context, s *Step) (bool, error) {
	have, err := find1(ctx, r.primary, `SELECT 'yes' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2
		AND (c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND (c.relreplident = 'd' AND x.indisprimary OR c.relreplident = 'i' AND x.indisreplident)))`,
		s.Schema, s.Name)
	return have != "", err
}

// refresh has the subscription follow the publication.
func (r *replica) refresh(ctx context.Context, s *Step) error {
	return patiently(ctx, func() error {
		return r.run.Do(ctx, r.conn, feed.Step{
			On: r.run.Target, What: s.What, SQL: "ALTER SUBSCRIPTION " + quoted(r.run.Name) + " REFRESH PUBLICATION",
			Next: "run \"pgshunt feed migrate\", which goes on from here",
		})
	})
}

// copied waits for the first copy of a table, if it is in the subscription.
func (r *replica) copied(ctx context.Context, s *Step) error {
	e := feed.Event{Status: feed.StatusStart, Server: r.run.Target.Name, Step: s.What, Table: s.Schema + "." + s.Name}
	r.run.Tell(e)
	for began := time.Now(); ; {
		state, err := find1(ctx, r.conn, `SELECT r.srsubstate::text FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid
			JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_subscription s ON s.oid = r.srsubid WHERE s.subname = $1 AND n.nspname = $2 AND c.relname = $3`,
			r.run.Name, s.Schema, s.Name)
		if err != nil {
			return err
		}
		if state == "" || state == "r" {
			e.Status, e.Took = feed.StatusDone, time.Since(began)
			r.run.Tell(e)
			return nil
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// dropSQL drops a table with the foreign keys to it: on the primary they have gone.
func (r *replica) dropSQL(ctx context.Context, s *Step) (string, error) {
	if r.run.Replica.Feed == configs.FeedDump {
		if _, err := r.conn.Exec(ctx, "DELETE FROM pgshunt.copies WHERE relation = $1", s.Schema+"."+s.Name); err != nil {
			return "", err
		}
	}
	rows, err := r.conn.Query(ctx, `SELECT format('ALTER TABLE %s DROP CONSTRAINT %I; ', k.conrelid::regclass, k.conname) FROM pg_constraint k JOIN pg_class c ON c.oid = k.confrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'f' AND k.conrelid <> k.confrelid AND k.conparentid = 0 AND n.nspname = $1 AND c.relname = $2`, s.Schema, s.Name)
	if err != nil {
		return "", err
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return strings.Join(keys, "") + "DROP TABLE IF EXISTS " + feed.Quote(s.Schema, s.Name), err
}
