package fleet

import (
	"context"
	"fmt"

	"pgshunt/router"
)

// Comparison compares one database as a Watcher does, but when it is asked to, on connections
// that stay open, and without a rest. It is for one goroutine at a time.
type Comparison struct {
	w        *Watcher
	database string
	sources  []*source
	bodies   bodies
}

// NewComparison connects to the servers of cfg, all of which must answer. What it returns is
// to be closed.
func NewComparison(ctx context.Context, cfg Config, database string) (*Comparison, error) {
	c := &Comparison{w: New(cfg), database: database}
	c.w.Start(ctx)
	var err error
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	} else if c.sources, err = c.w.sources(ctx, database); err == nil && len(c.sources) < len(cfg.Servers) {
		err = fmt.Errorf("only %d of %d servers can be asked", len(c.sources), len(cfg.Servers))
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Close closes the connections.
func (c *Comparison) Close() {
	for _, s := range c.sources {
		s.close()
	}
	c.w.Close()
}

// Fleet is a snapshot in which the database's catalog is what the servers have now. The rest is as
// it was when the connections were made.
func (c *Comparison) Fleet(ctx context.Context) (*router.Fleet, error) {
	made, err := c.w.catalogs.make(ctx, c.sources, &c.bodies)
	for _, s := range c.sources {
		if s.left || s.conn == nil {
			return nil, fmt.Errorf("%s: the catalog could not be read", s.server.Name)
		}
		if _, end := s.conn.Exec(ctx, "ROLLBACK"); err == nil {
			err = end
		}
	}
	if err != nil {
		return nil, err
	}
	f := *c.w.Snapshot()
	f.Catalogs = map[string]*router.Catalog{c.database: made}
	return &f, nil
}
