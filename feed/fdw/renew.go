package fdw

import (
	"context"
	"time"

	"pgshunt/feed"
	"pgshunt/feed/dump"
)

// Renew makes the copies of fdw.materialize anew if they are as old as every; see [dump.Renew].
func Renew(ctx context.Context, run *feed.Run, every time.Duration) (next time.Duration, err error) {
	w, err := open(ctx, run)
	defer w.close(ctx)
	if err != nil {
		return 0, err
	}
	if len(w.hot) == 0 {
		return every, nil
	}
	if server, err := w.lookAtServer(ctx); err != nil {
		return 0, err
	} else if server != nil {
		if err := w.owned(ctx, server, "make the copies anew"); err != nil {
			return 0, err
		}
	}
	problems, err := w.copyProblems(ctx)
	if err == nil {
		err = run.Block(problems)
	}
	if err != nil {
		return 0, err
	}
	w.close(ctx)
	return dump.Renew(ctx, w.hotRun(), every)
}
