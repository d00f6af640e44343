package logical

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
)

// State tells how the feed is. A server that cannot be reached is a problem of the state
// and not an error.
func State(ctx context.Context, run *feed.Run) (feed.State, error) {
	state := feed.State{Replica: run.Replica.Name, Feed: string(run.Replica.Feed), State: "absent", LagBytes: -1, LagSeconds: -1, Retained: -1}
	s := &session{run: run}
	defer s.close()
	if err := s.openPrimary(ctx); err != nil {
		state.Unreached(run.Primary, true, err, "the replica has the rows that it had, and goes on by itself once the primary answers")
	}
	if err := s.openTarget(ctx); err != nil {
		state.State = "broken"
		state.Unreached(run.Target, true, err, "until it answers its slot keeps WAL on the primary")
	}
	var err error
	if s.source, err = conninfo(run, s.to); err != nil {
		return state, err
	}
	if err := s.identify(ctx); err != nil {
		return state, err
	}
	st, err := s.standing(ctx)
	if err == nil {
		err = s.seeing(st)
	}
	if err != nil {
		return state, err
	}
	if st.slot != nil {
		state.Retained, state.LagBytes = st.slot.Retained, max(st.slot.Behind, 0)
		if err := s.judgeSlot(ctx, st.slot, &state); err != nil {
			return state, err
		}
	}
	if s.primary == nil && (st.sub != nil || st.way == configs.FeedLogical) {
		state.State = "stopped"
	}
	if s.target == nil || s.primary == nil {
		return state, nil
	}
	hosts := &problems{server: s.run.Primary.Name}
	s.checkHosts(ctx, hosts)
	state.Problems = append(state.Problems, hosts.all...)
	if state.LagSeconds, err = s.lag(ctx, st); err != nil {
		return state, s.failed(run.Primary, "read the lag", err)
	}
	all, err := s.tables(ctx)
	if err != nil {
		return state, err
	}
	state.State = s.overall(ctx, st, all, &state)
	return state, s.tableStates(ctx, st, all, &state)
}

// overall is the feed's state in one word; it adds the problems that it sees.
func (s *session) overall(ctx context.Context, st *standing, all []*table, state *feed.State) string {
	p := &problems{server: s.run.Target.Name}
	defer func() { state.Problems = append(state.Problems, p.all...) }()
	other := s.strange(st)
	switch {
	case st.sub == nil && st.slot == nil && st.publication == nil:
		return "absent"
	case other != nil:
		p.all = append(p.all, feed.Problem{Server: other.server.Name, Check: "owner", Blocks: true, What: other.what, Note: other.next})
		return "broken"
	case st.sub == nil:
		s.unsubscribed(p, st)
		return "broken"
	}
	if s.checkBroken(p, st) {
		return "broken"
	}
	s.checkFollowed(p, st.sub)
	s.checkRestored(p, st.sub)
	if some := st.untold(all); len(some) > 0 {
		p.block("unpublished", list(some)+": taken out of the publication, while the replica has the rows of that time", "", "pgshunt feed refresh --replica "+s.run.Replica.Name+" copies them anew")
	}
	s.unfed(p, st, all)
	if st.sub.DisableOnError && st.sub.ready() {
		p.warn("disable_on_error", "the next error, as a lost connection, disables the subscription: the command that set it up has not ended, or somebody has set disable_on_error", "",
			"pgshunt feed apply --replica "+s.run.Replica.Name+" has it connect again after any error")
	}
	if err := s.missing(ctx, p, st.sub); err != nil {
		p.warn("missing", err.Error(), "", "")
	}
	// Between two attempts nobody is connected; nor is for a moment after any change.
	for range 10 {
		if st.connected() || !st.sub.Enabled || wait(ctx, pace) != nil {
			break
		}
		if now, err := s.standing(ctx); err == nil && now.sub != nil && now.slot != nil {
			st.sub, st.slot = now.sub, now.slot
		}
	}
	if st.sub.Enabled && st.elsewhere() {
		now, f, err := s.owned(ctx)
		if err == nil && f != nil {
			p.all = append(p.all, feed.Problem{Server: f.server.Name, Check: "owner", Blocks: true, What: f.what, Note: f.next})
			return "broken"
		}
		if err == nil && now.sub != nil && now.slot != nil {
			st.sub, st.slot, st.silent = now.sub, now.slot, now.silent
		}
	}
	failures, err := s.errorCount(ctx, st.sub)
	if err != nil {
		failures = 0
	}
	switch {
	case !st.sub.Enabled && (failures == 0 || !st.sub.DisableOnError): // errors have been counted since it was made
		p.block("disabled", "the subscription is disabled", "ALTER SUBSCRIPTION "+feed.Quote("", s.run.Name)+" ENABLE", "on the replica, unless somebody wants it so")
		return "stopped"
	case !st.connected() && st.sub.Conninfo != "" && st.sub.Conninfo != s.source:
		p.block("source", "the subscription is not connected, and goes to another address, or as another role, than is configured now", "", "pgshunt feed apply --replica "+s.run.Replica.Name+" tells it the configured one")
		return "broken"
	case !st.sub.Enabled, !st.connected(), s.failing(ctx, st, failures):
		s.standstill(ctx, p, st, failures)
		return "broken"
	case !st.sub.ready():
		return "copying"
	}
	return "ready"
}

// unsubscribed tells of a feed whose subscription is missing: once it was there the tables have rows,
// and what was written since it was dropped cannot be told.
func (s *session) unsubscribed(p *problems, st *standing) {
	if st.way == configs.FeedLogical {
		p.block("subscription", "the subscription "+s.run.Name+" was dropped", "", s.renew()+", pgshunt feed drop removes what is left of it")
		return
	}
	p.block("subscription", "there is no subscription "+s.run.Name+"; the feed was not finished, or not removed", "", "pgshunt feed apply --replica "+s.run.Replica.Name+" finishes it, pgshunt feed drop removes it")
}

// connected tells whether the subscription has a worker that the primary sends to.
func (st *standing) connected() bool { return st.sub.PID != 0 && st.slot.Active && !st.elsewhere() }

// retry is longer than a subscription waits after an error, unless wal_retrieve_retry_interval says otherwise.
const retry = 6 * time.Second

// failing tells of a subscription that is connected just now whether it is so between one error
// and the next: failures have been counted, and another one comes before it has confirmed what
// the primary has written by now, or copied what it copies.
func (s *session) failing(ctx context.Context, st *standing, failures int64) bool {
	again, until := s.failedAgain(st.sub, failures), time.Now().Add(retry)
	if s.to < v15 {
		until = time.Now().Add(2 * time.Second)
	}
	if s.to >= v15 && failures == 0 || s.to < v15 && st.sub.ready() && st.slot.Behind <= 0 {
		return false
	}
	now, err := one[string](ctx, s.primary, "SELECT pg_current_wal_lsn()::text")
	for ; err == nil && time.Now().Before(until); err = wait(ctx, pace) {
		if st.sub.ready() {
			if there, err := one[bool](ctx, s.primary, confirmedQuery, s.run.Name, now); err != nil || there {
				return false
			}
		}
		if failed, err := again(ctx); err != nil || failed {
			return err == nil
		}
	}
	return false
}

// failedAgain makes what tells whether a worker of sub has failed again, after so many failures.
func (s *session) failedAgain(sub *subscription, failures int64) func(context.Context) (bool, error) {
	if s.to >= v15 {
		return func(ctx context.Context) (bool, error) {
			count, err := s.errorCount(ctx, sub)
			return count > failures, err
		}
	}
	var seen attempts
	return func(ctx context.Context) (bool, error) {
		failed, idle, err := seen.look(ctx, s.target, sub)
		return failed > 0 || idle > time.Second, err
	}
}

// unfed tells of tables that are configured, and not published or not subscribed yet.
func (s *session) unfed(p *problems, st *standing, all []*table) {
	var some []string
	for _, t := range leaves(all) {
		_, subscribed := st.sub.states[t.Plain()]
		if st.publication == nil || !subscribed {
			some = append(some, t.Plain())
		}
	}
	if len(some) > 0 {
		p.warn("tables", list(some)+": configured, and not fed yet", "", "pgshunt feed apply --replica "+s.run.Replica.Name+" brings what is new")
	}
	if c := publicationChange(st.publication, leaves(all)); st.publication != nil && len(c.altered) > 0 {
		p.warn("partial", list(c.altered)+": fed with other columns or conditions than are configured now", "", "pgshunt feed refresh --replica "+s.run.Replica.Name+" copies them anew")
	}
}

// judgeSlot warns while the slot can still be saved, and of the disk.
func (s *session) judgeSlot(ctx context.Context, l *slot, state *feed.State) error {
	keep, err := one[int64](ctx, s.primary, "SELECT setting::bigint << 20 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'")
	if err != nil {
		return s.failed(s.run.Primary, "read max_slot_wal_keep_size", err)
	}
	p := &problems{server: s.run.Primary.Name}
	defer func() { state.Problems = append(state.Problems, p.all...) }()
	drop := "pgshunt feed drop --replica " + s.run.Replica.Name + " gives the space back, and ends the feed"
	if err := s.checkFailover(ctx, p); err != nil {
		return err
	}
	const much = 1 << 30
	switch {
	case l.lost():
	case l.Status == "unreserved":
		p.block("slot_limit", fmt.Sprintf("the slot %s has lost its reservation: the next checkpoint may remove WAL that the replica needs", s.run.Name),
			"ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf()", "at once, if the disk has room, until the replica has caught up; else the feed has to be made anew")
	case keep >= 0 && l.Safe >= 0 && l.Safe < keep/4:
		p.warn("slot_limit", fmt.Sprintf("the slot %s keeps %s; after another %s of writes the replica has to be fed anew", s.run.Name, size(l.Retained), size(l.Safe)),
			"", "bring the replica back, or raise max_slot_wal_keep_size, now "+size(keep))
	case keep < 0 && l.Retained > much:
		p.warn("slot_limit", fmt.Sprintf("the slot %s keeps %s of WAL, and max_slot_wal_keep_size is -1: it goes on until the primary's disk is full", s.run.Name, size(l.Retained)),
			"ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf()", "a size that the disk can spare; or bring the replica back; "+drop)
	case keep < 0:
		p.warn("slot_limit", "max_slot_wal_keep_size is -1: while the replica is away its slot keeps WAL until the primary's disk is full",
			"ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf()", "a size that the disk can spare")
	}
	return nil
}

// size writes bytes for people.
func size(bytes int64) string {
	units := []string{"bytes", "kB", "MB", "GB", "TB"}
	value, unit := float64(bytes), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + " " + units[unit]
}

// lagQuery: what the sender has not had confirmed for how long; nothing where all is. A
// replica that is caught up confirms what it gets, so that it need not be asked.
const lagQuery = `SELECT CASE WHEN r.replay_lsn >= $2::pg_lsn THEN 0 ELSE coalesce(extract(epoch FROM r.replay_lag), 0) END::float8
	FROM pg_stat_replication r JOIN pg_replication_slots l ON l.active_pid = r.pid WHERE l.slot_name = $1 AND r.replay_lsn IS NOT NULL`

// lag is how many seconds the replica is behind, -1 where nobody knows: without a
// connection it is the time since the last word of the primary, if the replica has kept that.
func (s *session) lag(ctx context.Context, st *standing) (float64, error) {
	if st.sub == nil || st.slot == nil {
		return -1, nil
	}
	now, err := one[string](ctx, s.primary, "SELECT CASE WHEN pg_is_in_recovery() THEN '0/0' ELSE pg_current_wal_lsn()::text END")
	if err != nil {
		return -1, err
	}
	seconds, err := one[float64](ctx, s.primary, lagQuery, s.run.Name, now)
	if err != pgx.ErrNoRows {
		return seconds, err
	}
	return one[float64](ctx, s.target, `SELECT coalesce((SELECT extract(epoch FROM now() - max(latest_end_time)) FROM pg_stat_subscription WHERE subid = $1 AND relid IS NULL), -1)::float8`, st.sub.OID)
}

// tableStates says of each table that is fed how it is.
func (s *session) tableStates(ctx context.Context, st *standing, all []*table, state *feed.State) error {
	there, err := feed.Tables(ctx, s.target, func(string, string) bool { return true })
	if err != nil {
		return s.failed(s.run.Target, "read the tables", err)
	}
	byName := feed.Index(there)
	for _, t := range leaves(all) {
		one := feed.TableState{Schema: t.Schema, Name: t.Name, State: "absent", Rows: -1, Bytes: -1, Age: -1}
		subscribed, published := "", false
		if st.sub != nil {
			subscribed = st.sub.states[t.Plain()]
		}
		if st.publication != nil {
			_, published = st.publication.tables[t.Plain()]
		}
		have := byName[t.Plain()]
		switch {
		case have == nil:
			one.State = "missing"
		case subscribed == "":
		case !published || state.State == "broken" || state.State == "stopped":
			one.State = "stopped"
		case subscribed == "r":
			one.State, one.Age = "ready", state.LagSeconds
		default:
			one.State = "copying"
		}
		if have != nil {
			one.Rows, one.Bytes = have.Rows, have.Bytes
		}
		state.Tables = append(state.Tables, one)
	}
	return nil
}
