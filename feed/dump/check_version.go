package dump

import (
	"context"

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
	return k.version(ctx, primary, version)
}

// version is versions for a replica of that one.
func (k *checking) version(ctx context.Context, primary *pgx.Conn, version int) error {
	tables := make([]*feed.Table, len(k.tables))
	lists := make(map[*feed.Table]*table)
	for i, t := range k.tables {
		tables[i], lists[t.Table] = t.Table, t
	}
	newer, err := schema.FindNewer(ctx, primary, tables, version, func(t *feed.Table, column string) bool { return lists[t].fed(column) })
	if err != nil {
		return &feed.Error{Server: k.run.Primary.Name, Doing: "look at the definitions of its tables", Err: err}
	}
	for _, n := range newer {
		k.problems = append(k.problems, n.Problem(k.run.Target.Name, version))
	}
	return nil
}
