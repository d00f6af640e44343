package logical

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// standing is what there is of the feed: its three objects, as the catalogs have them.
type standing struct {
	publication *publication
	slot        *slot
	sub         *subscription
	// silent is set once the subscription's worker is known to be connected, though nothing has come.
	silent bool
	// ahead is set where the replica has applied what this primary never had; returned says so of a
	// primary that was failed over from, and has come back.
	ahead    bool
	returned string
	// blind is set where the role may not look at the replica's subscriptions.
	blind bool
	// others are the tables of the replica that another subscription brings, with its name.
	others map[string]string
	// installation is the replica's own, "" without a journal; way, how it was fed last.
	installation string
	way          configs.Feed
}

// publication is that of the feed's name.
type publication struct {
	OID uint32
	All bool // it is FOR ALL TABLES: somebody has made it, not a feed
	// mark is who made it, and the conditions as they were configured when it was last changed.
	mark   mark
	tables map[string]published
}

// published is a table of the publication: its name as SQL, its columns or nil for all, and
// whether its rows must meet a condition.
type published struct {
	sql      string
	columns  []string
	filtered bool
}

// slot is that of the feed's name.
type slot struct {
	Plugin, Database string
	Active           bool
	PID              int
	// Status is wal_status: reserved, extended, unreserved, lost; Why, invalidation_reason, which
	// PostgreSQL 17 and later tell.
	Status, Why string
	// Retained is how much WAL it keeps, Behind how much the replica has not confirmed, Safe how
	// much may yet be written until it is lost; in bytes, -1 where it is not known.
	Retained, Behind, Safe int64
	// Usable is set once it has a position to begin at.
	Usable bool
	// Followed is set while a subscription reads from it, Follower from which address, if that is told.
	Followed bool
	Follower string
}

// lost tells whether the WAL that the replica needs is gone.
func (s *slot) lost() bool { return s.Status == "lost" || s.Status == "" }

// subscription is that of the feed's name.
type subscription struct {
	OID            uint32
	Enabled        bool
	Slot           string
	Binary         bool
	DisableOnError bool
	// Conninfo is "" where the role may not see it.
	Conninfo string
	comment  string
	// PID is the worker that applies, 0 where none runs.
	PID int
	// Receiving is set once that has been sent something.
	Receiving bool
	// states are the tables of the subscription with their srsubstate: i, d, f, s, r.
	states map[string]string
}

func (s *session) standing(ctx context.Context) (*standing, error) {
	st := &standing{others: make(map[string]string)}
	if err := s.identify(ctx); err != nil {
		return nil, err
	}
	if s.primary != nil {
		if err := s.standingOnPrimary(ctx, st); err != nil {
			return nil, s.failed(s.run.Primary, "look for the publication and the slot", err)
		}
	}
	if s.target != nil {
		if err := s.standingOnTarget(ctx, st); err != nil {
			return nil, s.failed(s.run.Target, "look for the subscription", err)
		}
		var err error
		if s.own, err = s.lineOf(ctx, s.run.Target, s.target); err != nil {
			return nil, err
		}
		if st.installation, err = s.run.Installation(ctx, s.target); err != nil {
			return nil, err
		}
		if st.way, err = s.run.Way(ctx, s.target); err != nil {
			return nil, err
		}
	}
	if s.discarded {
		st.sub, st.slot = nil, nil
	}
	if st.sub != nil {
		st.returned = s.returned(st.sub)
	}
	if st.sub != nil && st.slot != nil && st.returned == "" {
		var err error
		if st.ahead, err = s.ahead(ctx, st); err != nil {
			return nil, err
		}
	}
	return st, nil
}

const publicationQuery = `SELECT p.oid, p.puballtables, coalesce(obj_description(p.oid, 'pg_publication'), '') FROM pg_publication p WHERE p.pubname = $1`

const publishedQuery = `SELECT n.nspname || '.' || c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
	(SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid
		AND to_jsonb(r) -> 'prattrs' @> to_jsonb(a.attnum)),
	to_jsonb(r) ->> 'prqual' IS NOT NULL
	FROM pg_publication_rel r JOIN pg_class c ON c.oid = r.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE r.prpubid = $1`

const slotQuery = `SELECT coalesce(plugin::text, ''), coalesce(database::text, ''), active, coalesce(active_pid, 0), coalesce(wal_status, ''),
	coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), -1)::bigint,
	coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn), -1)::bigint, coalesce(safe_wal_size, -1), confirmed_flush_lsn IS NOT NULL,
	EXISTS (SELECT FROM pg_stat_replication r WHERE r.pid = active_pid), coalesce((SELECT host(client_addr) FROM pg_stat_replication r WHERE r.pid = active_pid), ''), coalesce(to_jsonb(s) ->> 'invalidation_reason', '')
	FROM pg_replication_slots s WHERE slot_name = $1 AND NOT pg_is_in_recovery()`

func (s *session) standingOnPrimary(ctx context.Context, st *standing) error {
	p := &publication{tables: make(map[string]published)}
	var comment string
	err := s.primary.QueryRow(ctx, publicationQuery, s.run.Name).Scan(&p.OID, &p.All, &comment)
	switch {
	case err == nil:
		p.mark = readMark(comment)
		var name string
		var t published
		rows, err := s.primary.Query(ctx, publishedQuery, p.OID)
		if err != nil {
			return err
		}
		if _, err = pgx.ForEachRow(rows, []any{&name, &t.sql, &t.columns, &t.filtered}, func() error {
			p.tables[name] = t
			t.columns = nil
			return nil
		}); err != nil {
			return err
		}
		st.publication = p
	case err != pgx.ErrNoRows:
		return err
	}
	var l slot
	err = s.primary.QueryRow(ctx, slotQuery, s.run.Name).Scan(&l.Plugin, &l.Database, &l.Active, &l.PID, &l.Status, &l.Retained, &l.Behind, &l.Safe, &l.Usable, &l.Followed, &l.Follower, &l.Why)
	switch {
	case err == nil:
		st.slot = &l
	case err != pgx.ErrNoRows:
		return err
	}
	return nil
}

// subscriptionQuery leaves out the connection string, which only superusers may read.
const subscriptionQuery = `SELECT s.oid, s.subenabled, coalesce(s.subslotname::text, ''), coalesce(obj_description(s.oid, 'pg_subscription'), ''), has_column_privilege('pg_subscription', 'subconninfo', 'SELECT'),
	coalesce((SELECT max(pid) FROM pg_stat_subscription w WHERE w.subid = s.oid AND w.relid IS NULL), 0),
	EXISTS (SELECT FROM pg_stat_subscription w WHERE w.subid = s.oid AND w.relid IS NULL AND w.pid IS NOT NULL AND w.received_lsn IS NOT NULL)
	FROM pg_subscription s WHERE s.subname = $1 AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())`

const statesQuery = `SELECT n.nspname || '.' || c.relname, r.srsubid = $1, (SELECT s.subname::text FROM pg_subscription s WHERE s.oid = r.srsubid), r.srsubstate::text
	FROM pg_subscription_rel r JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace`

// lookSQL lets a role look at subscriptions. Before PostgreSQL 14 one that is no superuser may read
// their names and not their OIDs.
func (s *session) lookSQL() string {
	return "GRANT SELECT (oid) ON pg_catalog.pg_subscription TO " + role(s.run.Target.User()) + ";"
}

// seeing fails where the role may not look at the replica's subscriptions.
func (s *session) seeing(st *standing) error {
	if !st.blind {
		return nil
	}
	return &feed.Error{
		Server: s.run.Target.Name, Doing: "look for the subscription", Err: errors.New("before PostgreSQL 14 only superusers may"),
		Next: "name one in the replica's url, or have one run " + s.lookSQL(),
	}
}

func (s *session) standingOnTarget(ctx context.Context, st *standing) error {
	if sees, err := one[bool](ctx, s.target, "SELECT has_column_privilege('pg_subscription', 'oid', 'SELECT')"); err != nil || !sees {
		st.blind = err == nil
		return err
	}
	sub := &subscription{states: make(map[string]string)}
	var readable bool
	err := s.target.QueryRow(ctx, subscriptionQuery, s.run.Name).Scan(&sub.OID, &sub.Enabled, &sub.Slot, &sub.comment, &readable, &sub.PID, &sub.Receiving)
	switch {
	case err == nil:
		st.sub = sub
	case err != pgx.ErrNoRows:
		return err
	}
	if st.sub != nil {
		if readable {
			if sub.Conninfo, err = one[string](ctx, s.target, "SELECT subconninfo FROM pg_subscription WHERE oid = $1", sub.OID); err != nil {
				return err
			}
		}
		if s.to >= v14 {
			if sub.Binary, err = one[bool](ctx, s.target, "SELECT subbinary FROM pg_subscription WHERE oid = $1", sub.OID); err != nil {
				return err
			}
		}
		if s.to >= v15 {
			if sub.DisableOnError, err = one[bool](ctx, s.target, "SELECT subdisableonerr FROM pg_subscription WHERE oid = $1", sub.OID); err != nil {
				return err
			}
		}
	}
	rows, err := s.target.Query(ctx, statesQuery, sub.OID)
	if err != nil {
		return err
	}
	var name, other, state string
	var ours bool
	_, err = pgx.ForEachRow(rows, []any{&name, &ours, &other, &state}, func() error {
		if ours {
			sub.states[name] = state
		} else {
			st.others[name] = other
		}
		return nil
	})
	return err
}

// has tells whether the tables are all subscribed and copied.
func (sub *subscription) has(all []*table) bool {
	for _, t := range all {
		if sub.states[t.Plain()] != "r" {
			return false
		}
	}
	return true
}

// ready tells whether every table of the subscription has been copied.
func (sub *subscription) ready() bool {
	for _, state := range sub.states {
		if state != "r" {
			return false
		}
	}
	return true
}

// untold are tables that the subscription brings and the publication no longer has: what
// was written to them since is not on the replica.
func (st *standing) untold(all []*table) (some []string) {
	if st.sub == nil || st.publication == nil {
		return nil
	}
	for _, t := range leaves(all) {
		_, published := st.publication.tables[t.Plain()]
		if _, subscribed := st.sub.states[t.Plain()]; subscribed && !published {
			some = append(some, t.Plain())
		}
	}
	return some
}
