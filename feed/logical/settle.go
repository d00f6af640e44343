package logical

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
)

// settle takes back what was right for the first copy only; see the package's comment.
func (s *session) settle(ctx context.Context) error {
	st, err := s.standing(ctx)
	if err != nil || st.sub == nil {
		return err
	}
	var options []string
	if st.sub.DisableOnError {
		options = append(options, "disable_on_error = false")
	}
	if st.sub.Binary {
		options = append(options, "binary = false")
	}
	step := feed.Step{
		On: s.run.Target, What: "have the subscription connect again after any error", Next: busy,
		SQL: "ALTER SUBSCRIPTION " + feed.Quote("", s.run.Name) + " SET (" + strings.Join(options, ", ") + ")",
	}
	if len(options) == 0 {
		s.run.Done(step)
		return nil
	}
	if err := s.run.Do(ctx, s.target, step); err != nil {
		return err
	}
	return s.heeded(ctx)
}

// heedQuery looks at the worker that applies: whether the subscription is enabled, and whether
// it goes by options that were read after $2. None that runs will read them when it starts; one in
// a transaction has read them at its beginning.
const heedQuery = `SELECT s.subenabled, w.pid IS NULL OR coalesce(a.backend_start > $2, false) OR coalesce(a.xact_start > $2, false)
	FROM pg_subscription s
	LEFT JOIN pg_stat_subscription w ON w.subid = s.oid AND w.relid IS NULL AND w.pid IS NOT NULL AND to_jsonb(w) ->> 'leader_pid' IS NULL
	LEFT JOIN pg_stat_activity a ON a.pid = w.pid WHERE s.oid = $1`

// heedPatience is how long we wait for a worker that is in the middle of one transaction.
const heedPatience = 30 * time.Second

// heeded returns once the worker that applies goes by the options as they are now. It reads them
// between two transactions, or up to a second later, and a connection that was lost before would
// still disable the subscription, with nobody there to enable it.
func (s *session) heeded(ctx context.Context) error {
	wrong := func(err error) error { return s.failed(s.run.Target, "wait for the subscription's worker", err) }
	since, err := one[time.Time](ctx, s.target, "SELECT clock_timestamp()")
	if err != nil {
		return wrong(err)
	}
	sub, err := one[uint32](ctx, s.target, "SELECT oid FROM pg_subscription WHERE subname = $1 AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())", s.run.Name)
	if err != nil {
		return wrong(err)
	}
	asked := asking{s: s}
	for until := time.Now().Add(heedPatience); time.Now().Before(until); {
		var enabled, heeds bool
		switch err := s.target.QueryRow(ctx, heedQuery, sub, since).Scan(&enabled, &heeds); {
		case err == pgx.ErrNoRows: // somebody has dropped it, and the next command will tell
			return nil
		case err != nil:
			return wrong(err)
		case !enabled:
			if err := s.enable(ctx, "enable the subscription after an error"); err != nil {
				return err
			}
		case heeds:
			return nil
		default:
			if answered, err := asked.answered(ctx); err != nil || answered {
				return err
			}
		}
		if err := wait(ctx, pace); err != nil {
			return wrong(err)
		}
	}
	s.run.Note(s.run.Target.Name, "its worker is in the middle of a long transaction; an error before the end of that, as a lost connection, disables the subscription, and then pgshunt feed apply --replica %s enables it", s.run.Replica.Name)
	return nil
}

// asking has a worker that is idle take a message from the primary. Having taken all that has come
// it reads the options.
type asking struct {
	s       *session
	message string // its position
	answers int
}

// answered tells whether the worker has read the options since the first call. The first message
// is taken before that; the second is written when the first has been confirmed, so that there was
// nothing to be taken between them.
func (a *asking) answered(ctx context.Context) (bool, error) {
	const enough = 2
	if a.message != "" {
		there, err := one[bool](ctx, a.s.primary, confirmedQuery, a.s.run.Name, a.message)
		if err != nil || !there {
			return false, a.s.failed(a.s.run.Primary, "look at the slot", err)
		}
		if a.answers++; a.answers == enough {
			return true, nil
		}
	}
	// It is a transaction, since what none has committed may stay in memory.
	var err error
	a.message, err = one[string](ctx, a.s.primary, "SELECT pg_logical_emit_message(true, 'pgshunt', '')::text")
	return false, a.s.failed(a.s.run.Primary, "write a message for the replica", err)
}
