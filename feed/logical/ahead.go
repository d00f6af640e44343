package logical

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// ahead tells whether the replica has applied what this primary never had: it has followed
// another one, which was lost before the standby that is the primary now had received all. What
// is written from there on is taken for applied up to the position that the replica has.
func (s *session) ahead(ctx context.Context, st *standing) (bool, error) {
	applied, err := one[int64](ctx, s.target, appliedQuery, origin(st.sub))
	if sqlstate(err) == codeNotAllowed { // then a worker that runs has to tell
		applied, err = one[int64](ctx, s.target, "SELECT coalesce((SELECT max(latest_end_lsn - '0/0')::bigint FROM pg_stat_subscription WHERE subid = $1), 0)", st.sub.OID)
	}
	if err != nil {
		return false, s.failed(s.run.Target, "read how far the subscription is", err)
	}
	ahead, err := one[bool](ctx, s.primary, "SELECT $1 > pg_current_wal_insert_lsn() - '0/0'", applied)
	if err != nil {
		return false, s.failed(s.run.Primary, "read its position", err)
	}
	elsewhere := s.source != "" && st.sub.Conninfo != s.source && !st.slot.Active
	if !ahead && (elsewhere || s.failedOver(st.sub)) {
		ahead, err = s.parted(ctx, st, applied)
	}
	return ahead, err
}

// parted tells whether the primary parted from one that it followed before the position that
// the replica has applied, or never followed the one that the replica has. Its own position has
// passed that soon. Only a slot that was not read from since can tell the first, so this is asked
// before the subscription is told of this primary.
func (s *session) parted(ctx context.Context, st *standing, applied int64) (bool, error) {
	switches, err := s.switches(ctx)
	if err != nil || len(switches) == 0 {
		return false, err
	}
	var places []string
	before := st.sub.followed().Timeline
	came := before == 0 || before >= s.timeline
	for _, at := range switches {
		places = append(places, at.place)
		came = came || at.timeline == before
	}
	if !came || st.slot.Active {
		return !came, nil
	}
	const between = `SELECT EXISTS (SELECT FROM pg_replication_slots, unnest($2::text[]::pg_lsn[]) place
		WHERE slot_name = $1 AND confirmed_flush_lsn <= place AND place - '0/0' < $3)`
	parted, err := one[bool](ctx, s.primary, between, s.run.Name, places, applied)
	return parted, s.failed(s.run.Primary, "compare its history with what the replica has", err)
}

// promotion is where a timeline ended.
type promotion struct {
	timeline int64
	place    string
}

// switches are the positions at which the primary, or one that it goes back to, was promoted.
// Only replication's protocol tells them to a role that is no superuser. Where that is not to be
// had, as through a pooler, or the history is gone, there are none.
func (s *session) switches(ctx context.Context) (all []promotion, err error) {
	login := s.run.Primary.Login()
	login.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(ctx, login)
	if err != nil {
		return nil, s.unlessRefused(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	const timeline, content = 1, 1 // columns of the answers
	now, err := said(ctx, conn, "IDENTIFY_SYSTEM", timeline)
	if err != nil || now == "1" {
		return nil, s.unlessRefused(err)
	}
	history, err := said(ctx, conn, "TIMELINE_HISTORY "+now, content)
	if err != nil {
		return nil, s.unlessRefused(err)
	}
	for line := range strings.Lines(history) { // timeline, position, reason
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		if ended, err := strconv.ParseInt(words[0], 10, 64); err == nil {
			all = append(all, promotion{ended, words[1]})
		}
	}
	return all, nil
}

// unlessRefused is err as the primary's, nil where that says that it does not answer such a question.
func (s *session) unlessRefused(err error) error {
	if sqlstate(err) != "" {
		return nil
	}
	return s.failed(s.run.Primary, "read its history", err)
}

// said is a column of the only row that a command of replication answers.
func said(ctx context.Context, conn *pgconn.PgConn, command string, column int) (string, error) {
	results, err := conn.Exec(ctx, command).ReadAll()
	if err != nil {
		return "", err
	}
	if len(results) == 0 || len(results[0].Rows) == 0 || len(results[0].Rows[0]) <= column {
		return "", errors.New("it does not answer " + command)
	}
	return string(results[0].Rows[0][column]), nil
}
