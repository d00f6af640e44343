package dump

import (
	"context"

	"pgshunt/feed"
	"pgshunt/feed/schema"
)

// align has the copies that are there give what the primary's tables give now.
func (c *copying) align(ctx context.Context) error {
	primary, err := c.run.Primary.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = closeConn(primary) }()
	chosen, err := choose(ctx, primary, c.run)
	if err != nil {
		return err
	}
	theirs, err := schema.ReadRights(ctx, primary, chosen)
	if err != nil {
		return &feed.Error{Server: c.run.Primary.Name, Doing: "read who may do what", Err: err}
	}
	return schema.Align(ctx, c.run, theirs, primary, c.target, chosen)
}

// foresee makes ready what the swap needs to have the primary's rights follow: a copy takes long,
// and somebody may have lost one meanwhile. Under the swap's lock nobody is waited for. Where the
// primary does not answer any more those of the snapshot are taken.
func (c *copying) foresee(ctx context.Context) error {
	tables := c.ofPrimary()
	if c.from != nil {
		c.theirs = c.from.Definitions.Rights
	}
	if c.run.Print || c.theirs == nil {
		return nil
	}
	for _, t := range c.theirs.Tables {
		if len(t.Policies) > 0 {
			schema.Surround(ctx, c.run, c.saved(), tables)
			break
		}
	}
	if c.from != nil {
		return nil
	}
	primary, err := c.run.Primary.Connect(ctx)
	if err != nil {
		c.run.Note(c.run.Primary.Name, "who may read what is taken as it was when the copy began: %v", err)
		return nil
	}
	defer func() { _ = closeConn(primary) }()
	c.theirs, err = schema.Foresee(ctx, c.run, primary, c.target, tables)
	return err
}

// ofPrimary are the primary's tables.
func (c *copying) ofPrimary() []*feed.Table {
	tables := make([]*feed.Table, len(c.tables))
	for i, t := range c.tables {
		tables[i] = t.Table
	}
	return tables
}
