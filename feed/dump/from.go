package dump

import (
	"context"
	"fmt"
	"slices"
	"time"

	"pgshunt/feed"
	"pgshunt/feed/program"
	"pgshunt/feed/schema"
)

// ApplyFrom brings the copy that Save has written to dir, and does nothing where every table is
// as new already. It connects to the replica only.
func ApplyFrom(ctx context.Context, run *feed.Run, dir string) error {
	return from(ctx, run, dir, false)
}

// RefreshFrom brings the copy that Save has written to dir, whatever the replica has. It
// connects to the replica only.
func RefreshFrom(ctx context.Context, run *feed.Run, dir string) error {
	return from(ctx, run, dir, true)
}

func from(ctx context.Context, run *feed.Run, dir string, anew bool) error {
	m, err := readManifest(dir)
	if err != nil {
		return err
	}
	c, err := open(ctx, run)
	if err != nil {
		return err
	}
	c.from = m
	defer c.close()
	defer m.close()
	if err := c.allowed(ctx, m.check); err != nil {
		return err
	}
	if err := c.finish(ctx); err != nil {
		return err
	}
	older, newer, err := c.compareAge(ctx)
	if err != nil {
		return err
	}
	if !anew && !older {
		run.Done(feed.Step{On: run.Target, What: "copy the tables"})
		return c.clean(ctx)
	}
	if newer {
		run.Note(run.Target.Name, "it has newer copies than those of %s, which is of %s", dir, m.At.Format(time.DateTime+" MST"))
	}
	return c.copy(ctx)
}

// check finds what stands against loading the directory. It changes nothing.
func (m *manifest) check(ctx context.Context, run *feed.Run) ([]feed.Problem, error) {
	target, err := run.Target.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = closeConn(target) }()
	chosen := selected(run, slices.Clone(m.Tables))
	k := &checking{run: run, tables: newTables(run, chosen)}
	block := func(check, what, note string) {
		k.problems = append(k.problems, feed.Problem{Check: check, Blocks: true, What: what, Note: note})
	}
	if len(chosen) == 0 {
		block("tables", "no table of "+m.dir+" is selected by replicas[].tables", "")
	}
	if m.Database != run.Primary.Database() {
		block("database", fmt.Sprintf("%s is of database %q, and the configuration's primary has %q", m.dir, m.Database, run.Primary.Database()), "name the directory of that database, or correct primary.url")
	}
	if _, err := program.FindNewest(ctx, m.Definitions.Major); err != nil {
		block("programs", err.Error(), "")
	}
	k.whole()
	version, err := versionOf(ctx, target)
	if err != nil {
		return nil, &feed.Error{Server: run.Target.Name, Doing: "ask for its version", Err: err}
	}
	k.version(m.Newer, version)
	if err := k.stranger(ctx, target, m.System); err != nil {
		return nil, err
	}
	if err := k.replica(ctx, target); err != nil {
		return nil, &feed.Error{Server: run.Target.Name, Doing: "check the tables there", Err: err}
	}
	err = k.otherFeed(ctx, target)
	return k.problems, err
}

// compareAge tells whether a table of the replica is missing or older than the directory's, and
// whether one is newer.
func (c *copying) compareAge(ctx context.Context) (older, newer bool, err error) {
	have, err := copies(ctx, c.run, c.target)
	if err != nil || have == nil {
		return true, false, err
	}
	var names []string
	for _, t := range selected(c.run, slices.Clone(c.from.Tables)) {
		names = append(names, t.Plain())
		one, there := have[t.Plain()]
		older = older || !there || one.missing || one.partial
	}
	var stale bool
	err = c.target.QueryRow(ctx, `SELECT coalesce(bool_or(copied_at < $2), false), coalesce(bool_or(copied_at > $2), false) FROM pgshunt.copies WHERE relation = ANY($1)`, names, c.from.At).Scan(&stale, &newer)
	if err != nil {
		err = &feed.Error{Server: c.run.Target.Name, Doing: "read the journal", Err: err}
	}
	return older || stale || len(have) != len(names), newer, err
}

// saved is where definitions come from if not from the primary.
func (c *copying) saved() *schema.Saved {
	if c.from == nil {
		return nil
	}
	return c.from.Definitions
}
