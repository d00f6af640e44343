package logical

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"pgshunt/feed"
)

// standstill tells of a subscription that does not go on, or is between two attempts: it has no
// place for a worker, does not reach the primary, or cannot apply what comes.
func (s *session) standstill(ctx context.Context, p *problems, st *standing, failures int64) {
	if !st.connected() {
		before := len(p.all)
		err := s.checkWorkers(ctx, p, st.sub)
		if err == nil {
			err = s.checkReach(ctx, p)
		}
		if err != nil {
			p.warn("check", err.Error(), "", "")
		}
		if slices.ContainsFunc(p.all[before:], func(one feed.Problem) bool { return one.Blocks }) {
			return
		}
	}
	p.all = append(p.all, s.conflictProblem(ctx, st.sub, failures))
}

// checkReach tells of a replica that does not reach the primary, by its role or at all.
func (s *session) checkReach(ctx context.Context, p *problems) error {
	may, err := s.replicates(ctx)
	if err != nil {
		return err
	}
	if !may {
		service, err := feed.ServiceOf(ctx, s.primary)
		if err != nil {
			return s.failed(s.run.Primary, "read the settings", err)
		}
		role := s.run.Source.LoginUser()
		p.block("replication", fmt.Sprintf("%s, as which %s connects, may not replicate", role, s.run.Replica.Name), service.Grant(role), "on the primary")
	}
	found, err := s.reach(ctx)
	p.all = append(p.all, found...)
	return err
}

// checkWorkers tells of a replica that has no worker left for the subscription.
func (s *session) checkWorkers(ctx context.Context, p *problems, sub *subscription) error {
	if sub.PID != 0 || !sub.Enabled {
		return nil
	}
	const query = `SELECT CASE WHEN max <= (SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL) THEN max ELSE -1 END
		FROM current_setting('max_logical_replication_workers') s, LATERAL (SELECT s::int) m(max)`
	most, err := one[int](ctx, s.target, query)
	if err != nil || most < 0 {
		return s.failed(s.run.Target, "look at the workers", err)
	}
	p.block("max_logical_replication_workers", fmt.Sprintf("all %d workers of logical replication are in use, and the subscription has none", most),
		fmt.Sprintf("ALTER SYSTEM SET max_logical_replication_workers = %d", most+4), "restart the server afterwards")
	return nil
}

// conflictProblem tells of a subscription that does not go on: why, and the ways out.
func (s *session) conflictProblem(ctx context.Context, sub *subscription, failures int64) feed.Problem {
	p := feed.Problem{Server: s.run.Target.Name, Check: "conflict", Blocks: true}
	name := feed.Quote("", s.run.Name)
	c := s.conflict(ctx, sub)
	end := ""
	if c != nil {
		end = lsn(c.End)
	}
	logged := s.lastError(ctx, end)
	p.What = "the subscription does not go on"
	if failures > 0 {
		p.What += fmt.Sprintf(" (%d errors)", failures)
	}
	if logged.text != "" {
		p.What += ": " + logged.text
	}
	var notes []string
	if c == nil {
		end = logged.lsn
	} else {
		p.What += fmt.Sprintf("; the next transaction is %d, which ends at %s: %s", c.XID, end, c.summary())
		what, remedy, note := c.wayOut(s.run.Replica.Name)
		p.What, p.Remedy = p.What+what, remedy
		if note != "" {
			notes = append(notes, note)
		}
	}
	switch {
	case end != "" && s.to >= v15:
		notes = append(notes, "to leave the whole transaction out, on the replica: ALTER SUBSCRIPTION "+name+" SKIP (lsn = '"+end+"')")
	case c != nil:
		notes = append(notes, fmt.Sprintf("to leave the whole transaction out, on the replica: ALTER SUBSCRIPTION %s DISABLE; then, once its worker has ended, SELECT pg_replication_origin_advance('%s', '%s'); ALTER SUBSCRIPTION %s ENABLE", name, origin(sub), lsn(c.After), name))
	}
	if !sub.Enabled {
		notes = append(notes, "then pgshunt feed apply --replica "+s.run.Replica.Name+", which enables it")
	} else {
		notes = append(notes, "it tries again by itself every few seconds")
	}
	if logged.text == "" {
		notes = append(notes, "the replica's log has the error")
	}
	p.Note = strings.Join(notes, "; ")
	return p
}

// wayOut says what of the replica stands in the transaction's way, where that is known, and what removes it.
func (c *conflict) wayOut(replica string) (what, remedy, note string) {
	switch {
	case len(c.absent) > 0:
		return "; the replica has no " + list(c.absent), "pgshunt feed apply --replica " + replica, "which makes and copies what is missing"
	case len(c.lacking) > 0:
		return "; the replica has no column " + list(c.lacking), "pgshunt feed migrate --repair --replica " + replica, "which makes what is missing"
	case len(c.double) == 0:
		return "", "", ""
	}
	first := c.double[0]
	what = fmt.Sprintf("; %s has the row already where %s", first.table, first.where)
	var all []string
	for _, row := range c.double {
		all = append(all, "DELETE FROM "+row.table+" WHERE "+row.where)
	}
	return what, strings.Join(all, "; "), "on the replica: the row there was not written by the feed"
}
