package feed

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
)

// Follow records in the journal that the copies are of the primary of that system identifier. It
// belongs into the transaction of target that shows them, after [Run.Applied].
func (r *Run) Follow(ctx context.Context, target *pgx.Conn, system string) error {
	if r.Print || system == "" || r.Replica.Feed != configs.FeedDump {
		return nil
	}
	if _, err := target.Exec(ctx, `UPDATE pgshunt.feeds SET source = $2 WHERE name = $1`, r.Name, Followed{System: system}.Comment()); err != nil {
		return &Error{Server: r.Target.Name, Doing: "write the journal", Err: err}
	}
	return nil
}

// Stranger says that the replica has copies of another primary than the one of that system
// identifier, and what to do about it; nil where it has none, or where it is not known whose.
func (r *Run) Stranger(ctx context.Context, target *pgx.Conn, system string) (*Problem, error) {
	way, err := r.Way(ctx, target)
	if err != nil || way != configs.FeedDump || system == "" {
		return nil, err
	}
	var source string
	if err := target.QueryRow(ctx, `SELECT coalesce((SELECT source FROM pgshunt.feeds WHERE name = $1), '')`, r.Name).Scan(&source); err != nil {
		return nil, &Error{Server: r.Target.Name, Doing: "read the journal", Err: err}
	}
	of, marked := ReadFollowed(source)
	if !marked || of.System == system {
		return nil, nil
	}
	return &Problem{
		Server: r.Target.Name, Check: "owner", Blocks: true,
		What:   fmt.Sprintf("the copies of %s are of another primary than this one (system %s, and this is %s)", r.Name, of.System, system),
		Remedy: "UPDATE pgshunt.feeds SET source = " + Literal(Followed{System: system}.Comment()) + " WHERE name = " + Literal(r.Name) + ";",
		Note:   "there, if that primary was upgraded and is this one now, or this one shall take its place; else correct primary.url, or give this replica another name in the configuration",
	}, nil
}
