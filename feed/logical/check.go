package logical

import (
	"context"
	"strings"

	"pgshunt/feed"
)

// Check looks for everything that stands against the feed and changes nothing. To see
// whether the replica reaches the primary it has it make a subscription, in a transaction
// that it rolls back.
func Check(ctx context.Context, run *feed.Run) ([]feed.Problem, error) {
	s, err := open(ctx, run)
	if err != nil {
		return nil, err
	}
	defer s.close()
	found, _, err := s.check(ctx, nil)
	return found, err
}

// check also returns the tables of the feed. With anew given, rows that are on the replica
// are no problem where a feed has brought them or anew meets their table: they will be removed.
func (s *session) check(ctx context.Context, anew func(schema, name string) bool) ([]feed.Problem, []*table, error) {
	all, err := s.tables(ctx)
	if err != nil {
		return nil, nil, err
	}
	var found []feed.Problem
	for _, look := range []func(context.Context) ([]feed.Problem, error){
		s.checkPrimary,
		func(ctx context.Context) ([]feed.Problem, error) { return s.checkTables(ctx, all) },
		s.checkTarget,
		func(ctx context.Context) ([]feed.Problem, error) { return s.checkRows(ctx, all, anew) },
		s.checkSource,
	} {
		some, err := look(ctx)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, some...)
	}
	return found, all, nil
}

// problems collects those of one server.
type problems struct {
	server string
	all    []feed.Problem
}

// block adds one that stands against the feed, warn one that does not.
func (p *problems) block(check, what, remedy, note string) {
	p.all = append(p.all, feed.Problem{Server: p.server, Check: check, Blocks: true, What: what, Remedy: remedy, Note: note})
}

func (p *problems) warn(check, what, remedy, note string) {
	p.all = append(p.all, feed.Problem{Server: p.server, Check: check, What: what, Remedy: remedy, Note: note})
}

// role writes a role's name as SQL.
func role(name string) string { return feed.Quote("", name) }

// list names a few of many.
func list(all []string) string {
	const most = 5
	if len(all) > most {
		return strings.Join(all[:most], ", ") + " and others"
	}
	return strings.Join(all, ", ")
}
