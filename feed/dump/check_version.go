package dump

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// versions refuses tables that the replica is too old for. It is looked at whatever the replica
// has of them: a refresh makes one that differs by the primary's definition.
func (k *checking) versions(ctx context.Context, primary, target *pgx.Conn) error {
	version, err := versionOf(ctx, target)
	if err != nil {
		return &feed.Error{Server: k.run.Target.Name, Doing: "ask for its version", Err: err}
	}
	all, err := newer(ctx, k.run, primary, k.tables)
	if err == nil {
		k.version(all, version)
	}
	return err
}

// newer lists what the tables have that an older server may not know.
func newer(ctx context.Context, run *feed.Run, primary *pgx.Conn, tables []*table) ([]schema.Newer, error) {
	plain := make([]*feed.Table, len(tables))
	for i, t := range tables {
		plain[i] = t.Table
	}
	all, err := schema.FindNewer(ctx, primary, plain)
	if err != nil {
		err = &feed.Error{Server: run.Primary.Name, Doing: "look at the definitions of its tables", Err: err}
	}
	return all, err
}

// version refuses what a replica of that version does not know, as far as it is fed.
func (k *checking) version(all []schema.Newer, version int) {
	for _, n := range all {
		for _, t := range k.tables {
			unfed := func(column string) bool { return !t.fed(column) }
			if t.Plain() == n.Table && version/10000 < n.Since && !slices.ContainsFunc(n.Columns, unfed) {
				k.problems = append(k.problems, n.Problem(k.run.Target.Name, version))
			}
		}
	}
}
