package logical

import (
	"context"
	"errors"

	"pgshunt/feed"
)

// Drop removes the subscription, the slots, the publication and the feed's line in the
// journal. The tables on the replica stay, with their rows. Where one server is not
// reachable the other's part is done all the same, and the error has the statements that
// are left.
func Drop(ctx context.Context, run *feed.Run) error {
	s := &session{run: run}
	defer s.close()
	errPrimary, errTarget := s.openPrimary(ctx), s.openTarget(ctx)
	if errPrimary != nil && errTarget != nil {
		return errors.Join(errPrimary, errTarget)
	}
	if s.target != nil {
		if err := s.lock(ctx); err != nil {
			return err
		}
	}
	st, other, err := s.owned(ctx)
	if err == nil {
		err = s.seeing(st)
	}
	if err != nil {
		return err
	}
	if other != nil {
		return other.error("drop the feed")
	}
	var errs []error
	if s.target != nil {
		errs = append(errs, s.dropOnTarget(ctx, st))
	} else {
		errs = append(errs, remaining(errTarget, unsubscribeSQL(run.Name)))
	}
	if s.primary != nil {
		errs = append(errs, s.dropOnPrimary(ctx, st))
	} else {
		errs = append(errs, remaining(errPrimary, dropSlotSQL(run.Name)+"; DROP PUBLICATION IF EXISTS "+feed.Quote("", run.Name)))
	}
	return errors.Join(errs...)
}

// remaining adds to an error of connecting what else there is to do.
func remaining(err error, sql string) error {
	if one := (*feed.Error)(nil); errors.As(err, &one) {
		more := *one
		more.Next = "run this again when it is there, or do there by hand what is left: " + sql
		return &more
	}
	return err
}

func (s *session) dropOnTarget(ctx context.Context, st *standing) error {
	if st.sub == nil {
		s.run.Done(feed.Step{On: s.run.Target, What: "drop the subscription"})
	} else if err := s.unsubscribe(ctx, st.sub); err != nil {
		return err
	}
	return s.run.Forgotten(ctx, s.target)
}

func (s *session) dropOnPrimary(ctx context.Context, st *standing) error {
	if err := s.dropSlots(ctx, st.sub); err != nil {
		return err
	}
	step := feed.Step{On: s.run.Primary, What: "drop the publication", SQL: "DROP PUBLICATION " + feed.Quote("", s.run.Name), Next: busy}
	if st.publication == nil {
		s.run.Done(step)
		return nil
	}
	return s.run.Do(ctx, s.primary, step)
}
