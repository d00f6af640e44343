package logical

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// timelineQuery is the timeline that a server writes to. What pg_control_checkpoint has is older
// for some minutes after a promotion.
const timelineQuery = `SELECT CASE WHEN pg_is_in_recovery() THEN 0 ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint END`

// followed is the primary as the subscription's comment has it.
func (s *session) followed() feed.Followed {
	return feed.Followed{System: s.system, Timeline: s.timeline, Own: s.own}
}

// followSQL writes down whom the subscription follows.
func (s *session) followSQL() string {
	return "COMMENT ON SUBSCRIPTION " + feed.Quote("", s.run.Name) + " IS " + feed.Literal(s.followed().Comment())
}

// follow does so in the transaction of conn, where it is known.
func (s *session) follow(ctx context.Context, conn *pgx.Conn) error {
	if s.system == "" {
		return nil
	}
	_, err := conn.Exec(ctx, s.followSQL())
	return s.failed(s.run.Target, "note which primary the subscription follows", err)
}

// acknowledge writes down the timeline of a primary that the subscription has come to by itself.
func (s *session) acknowledge(ctx context.Context, sub *subscription) error {
	if s.system == "" || sub.followed() == s.followed() {
		return nil
	}
	return s.run.Do(ctx, s.target, feed.Step{On: s.run.Target, What: "note which primary the subscription follows", SQL: s.followSQL(), Next: busy})
}

// followed is whom the subscription follows by its comment.
func (sub *subscription) followed() feed.Followed {
	f, _ := feed.ReadFollowed(sub.comment)
	return f
}

// returned says that this primary was one before a failover, after which the replica has followed
// the next; it takes writes again, which are no part of what the replica has.
func (s *session) returned(sub *subscription) string {
	if before := sub.followed().Timeline; s.timeline != 0 && s.timeline < before {
		return fmt.Sprintf("the replica has followed timeline %d of the primary, and this server is on timeline %d: it was the primary before a failover, and has come back", before, s.timeline)
	}
	return ""
}

// failedOver tells whether the primary is one that was promoted since the subscription was last told of it.
func (s *session) failedOver(sub *subscription) bool {
	before := sub.followed().Timeline
	return before != 0 && before < s.timeline
}

// lineOf is the timeline of a server, 0 where the role may not know.
func (s *session) lineOf(ctx context.Context, server *feed.Server, conn *pgx.Conn) (int64, error) {
	line, err := one[int64](ctx, conn, timelineQuery)
	if sqlstate(err) == codeNotAllowed {
		return 0, nil
	}
	return line, s.failed(server, "read its timeline", err)
}

// checkRestored tells of a replica that was restored from a backup, or whose standby has taken its
// place. Its slot is where it was, and does not go back: what the replica had confirmed and no longer
// has is not sent again.
func (s *session) checkRestored(p *problems, sub *subscription) {
	if before := sub.followed().Own; before != 0 && s.own != 0 && before != s.own {
		p.block("restored", fmt.Sprintf("the replica was restored from a backup, or its standby has taken its place, since the last apply (its timeline %d, now %d): what it had received and lost is not sent again", before, s.own),
			"pgshunt feed verify --replica "+s.run.Replica.Name+" --repair", "then pgshunt feed apply --replica "+s.run.Replica.Name+" ends this; or "+s.renew())
	}
}

// checkFollowed warns of a failover that the subscription has followed by itself, as it does where
// its connection string has several hosts.
func (s *session) checkFollowed(p *problems, sub *subscription) {
	if !s.failedOver(sub) {
		return
	}
	p.warn("failover", fmt.Sprintf("the primary was failed over to another server since the last apply (timeline %d, now %d): if the replica had more than that had received, rows differ, and only a comparison tells",
		sub.followed().Timeline, s.timeline), "", "pgshunt feed verify --replica "+s.run.Replica.Name+" compares; pgshunt feed apply --replica "+s.run.Replica.Name+" then ends this note")
}
