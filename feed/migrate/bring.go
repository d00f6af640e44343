package migrate

import (
	"context"

	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// bringTable makes a new table of the primary on the replica, empty, with what it needs; its
// indexes come when its rows are there, but for the key by which they are found.
func (r *replica) bringTable(ctx context.Context, s *Step, phase string, done int) error {
	tables, err := feed.Tables(ctx, r.primary, func(schema, name string) bool { return schema == s.Schema && name == s.Name })
	if err == nil {
		err = schema.Bring(ctx, r.run, tables, schema.Tables)
	}
	if err == nil {
		err = schema.Bring(ctx, r.run, tables, schema.Indexes)
	}
	if err != nil {
		return r.wrong(s.What, err)
	}
	return r.transact(ctx, s.What, "", phase, done)
}
