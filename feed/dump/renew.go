package dump

import (
	"context"
	"errors"
	"time"

	"pgshunt/feed"
)

// ErrNeverCopied means that Apply has not yet brought the first copy.
var ErrNeverCopied = errors.New("there is no copy yet; run pgshunt feed apply")

// Renew refreshes the copy if it is as old as every, and returns how long it is then until
// it will be: every itself if it was renewed. Its age is looked at under the lock of the
// feed, so that of several who renew one does it.
func Renew(ctx context.Context, run *feed.Run, every time.Duration) (next time.Duration, err error) {
	due := func(c *copying) (time.Duration, error) {
		have, err := copies(ctx, run, c.target)
		if err != nil {
			return 0, err
		}
		if len(have) == 0 {
			return 0, ErrNeverCopied
		}
		var oldest float64
		for _, one := range have {
			oldest = max(oldest, one.age)
		}
		return every - time.Duration(oldest*float64(time.Second)), nil
	}
	// A first look needs no lock: mostly it is too early.
	early := &copying{run: run}
	if early.target, err = run.Target.Connect(ctx); err != nil {
		return 0, err
	}
	next, err = due(early)
	_ = closeConn(early.target)
	if err != nil || next > 0 {
		return next, err
	}
	c, err := open(ctx, run)
	if err != nil {
		return 0, err
	}
	defer c.close()
	if next, err = due(c); err != nil || next > 0 {
		return next, err
	}
	if err := c.allowed(ctx, Check); err != nil {
		return 0, err
	}
	if err := c.finish(ctx); err != nil {
		return 0, err
	}
	return every, c.copy(ctx)
}
