package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// followsQueries read the comment of what a replica has to reach its primary by.
var followsQueries = map[configs.Feed]string{
	configs.FeedFDW: "SELECT coalesce(obj_description(oid, 'pg_foreign_server'), '') FROM pg_foreign_server WHERE srvname = $1",
	configs.FeedLogical: `SELECT coalesce(obj_description(oid, 'pg_subscription'), '') FROM pg_subscription
		WHERE subname = $1 AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`,
}

// follows fails where the replica says that it follows another primary: two may have databases of
// one name, and the rows of one are not to be written over those of the other.
func (v *verification) follows(ctx context.Context) error {
	if v.run.Replica.Feed == configs.FeedDump {
		return v.copied(ctx)
	}
	query, marked := followsQueries[v.run.Replica.Feed]
	if !marked {
		return nil
	}
	var comment string
	err := v.target.QueryRow(ctx, query, v.run.Name).Scan(&comment)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return &feed.Error{Server: v.run.Target.Name, Doing: "look whom it follows", Err: err}
	}
	system, err := v.run.Primary.System(ctx, v.primary)
	if err != nil {
		return err
	}
	other, marked := feed.ReadFollowed(comment)
	if !marked || other.System == "" || system == "" || other.System == system {
		return nil
	}
	return &feed.Error{
		Server: v.run.Target.Name, Doing: "repair its tables",
		Err:  fmt.Errorf("it follows another primary than this one (system %s, and this is %s)", other.System, system),
		Next: "run pgshunt feed status",
	}
}

// copied is follows for copies.
func (v *verification) copied(ctx context.Context) error {
	system, err := v.run.Primary.System(ctx, v.primary)
	if err != nil {
		return err
	}
	p, err := v.run.Stranger(ctx, v.target, system)
	if err != nil || p == nil {
		return err
	}
	return &feed.Error{Server: p.Server, Doing: "repair its tables", Err: errors.New(p.What), Next: "run pgshunt feed status"}
}
