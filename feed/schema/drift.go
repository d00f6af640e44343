package schema

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// Drift reads both servers and tells in what the replica's definitions differ from those
// that the feed would bring: see [Compare] and [Access]. Columns that a column list leaves out are
// no difference. It changes nothing.
func Drift(ctx context.Context, run *feed.Run) ([]Difference, error) {
	at, err := run.Primary.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer at.Close(ctx)
	target, err := run.Target.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer target.Close(ctx)
	primary, replica, err := both(ctx, run, at, target)
	if err != nil {
		return nil, err
	}
	who, err := Access(ctx, run, at, target, primary)
	return append(drift(run, primary, replica), who...), err
}

func drift(run *feed.Run, primary, replica []*feed.Table) []Difference {
	all := Compare(Listed(run, primary), replica, run.Replica.Feed)
	known := feed.Index(primary)
	return slices.DeleteFunc(all, func(d Difference) bool {
		full := known[d.Schema+"."+d.Table]
		listed := full != nil && run.Selection.Columns(d.Schema, d.Table) != nil
		return listed && (d.Kind == KindOrder || d.Kind == KindExtraColumn && !d.Matters && full.Column(d.Column) != nil)
	})
}

// both reads the tables that are fed: on the primary what is selected, on the replica what
// of it is there, and what the feed has brought before.
func both(ctx context.Context, run *feed.Run, at, target *pgx.Conn) (primary, replica []*feed.Table, err error) {
	if primary, err = run.Tables(ctx, at); err != nil {
		return nil, nil, &feed.Error{Server: run.Primary.Name, Doing: "read the tables", Err: err}
	}
	known := feed.Index(primary)
	brought, err := brought(ctx, target, run)
	if err == nil {
		replica, err = feed.Tables(ctx, target, func(schema, name string) bool {
			return known[schema+"."+name] != nil || brought[schema+"."+name] && run.Selection.Has(schema, name)
		})
	}
	if err != nil {
		return nil, nil, &feed.Error{Server: run.Target.Name, Doing: "read the tables", Err: err}
	}
	return primary, replica, nil
}

// brought lists the tables of a replica that its feed has brought, by schema and name: what
// else is there is the replica's own, and never said to be too much.
func brought(ctx context.Context, target *pgx.Conn, run *feed.Run) (map[string]bool, error) {
	query := map[configs.Feed]string{
		configs.FeedLogical: `SELECT n.nspname || '.' || c.relname FROM pg_subscription s JOIN pg_subscription_rel r ON r.srsubid = s.oid
			JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE s.subname = $1`,
		configs.FeedFDW: `SELECT n.nspname || '.' || c.relname FROM pg_foreign_server s JOIN pg_foreign_table f ON f.ftserver = s.oid
			JOIN pg_class c ON c.oid = f.ftrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE s.srvname = $1`,
		configs.FeedDump: `SELECT relation FROM pgshunt.copies WHERE $1 <> ''`,
	}[run.Replica.Feed]
	if query == "" {
		return nil, nil
	}
	if run.Replica.Feed == configs.FeedDump {
		var have bool
		if err := target.QueryRow(ctx, "SELECT to_regclass('pgshunt.copies') IS NOT NULL").Scan(&have); err != nil || !have {
			return nil, err
		}
	}
	rows, err := target.Query(ctx, query, run.Name)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	all := make(map[string]bool, len(names))
	for _, name := range names {
		all[name] = true
	}
	return all, err
}

// Listed returns the tables as the feed brings them: without the columns that a column list
// of the configuration leaves out. The given tables stay as they are.
func Listed(run *feed.Run, tables []*feed.Table) []*feed.Table {
	all, byName := slices.Clone(tables), feed.Index(tables)
	for i, t := range all {
		list := run.Selection.Columns(t.Schema, t.Name)
		if len(t.Parents) > 0 {
			list = run.Selection.FedColumns(t, byName)
		}
		if list == nil {
			continue
		}
		cut := *t
		cut.Columns = slices.DeleteFunc(slices.Clone(t.Columns), func(c feed.Column) bool { return !slices.Contains(list, c.Name) })
		if slices.ContainsFunc(t.PrimaryKey, func(name string) bool { return !slices.Contains(list, name) }) {
			cut.PrimaryKey = nil
		}
		all[i] = &cut
	}
	return all
}

// Fill writes differences into the tables of a state, what matters first. What changes
// neither a value nor a name that a query could use is left out: the replica may be laxer
// than the primary, and its columns in another order.
func Fill(state *feed.State, all []Difference) {
	for i := range state.Tables {
		t := &state.Tables[i]
		for _, matters := range []bool{true, false} {
			for _, d := range all {
				if d.Schema == t.Schema && d.Table == t.Name && d.Matters == matters && (matters || d.visible()) {
					t.Drift = append(t.Drift, d.String())
				}
			}
		}
	}
}

func (d Difference) visible() bool {
	switch d.Kind {
	case KindOrder, KindInheritance, KindNotNull, KindIdentity, KindRelation, KindPrimaryKey, KindBound, KindPartitionKey, KindDomain:
		return false
	case KindExtraColumn:
		return d.Repair != nil // else it is the replica's own
	}
	return true
}
