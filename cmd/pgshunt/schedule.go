package main

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/feed/dump"
	"pgshunt/feed/fdw"
)

// schedules renews the copies of replicas that have a schedule, one goroutine for each of
// them. When a copy is due its age decides, which the replica itself knows: so after a
// restart nothing is copied early, and of several proxies one does it. The first copy is made
// by `pgshunt feed apply` and by nobody else. Its methods are for one goroutine.
type schedules struct {
	log     *slog.Logger
	running map[string]*schedule
}

type schedule struct {
	primary configs.Server
	replica configs.Replica
	stop    context.CancelFunc
	ended   sync.WaitGroup
}

// scheduleRetry is the longest pause after a copy that failed.
const scheduleRetry = 5 * time.Minute

// set has the schedules of a configuration in force. A copy that is being made goes on
// unless its replica or the primary has changed.
func (s *schedules) set(cfg *configs.Config) {
	wanted := make(map[string]*configs.Replica)
	for i := range cfg.Replicas {
		if r := &cfg.Replicas[i]; r.Schedule != 0 {
			wanted[r.Name] = r
		}
	}
	for name, one := range s.running {
		if r := wanted[name]; r == nil || !reflect.DeepEqual(*r, one.replica) || !reflect.DeepEqual(cfg.Primary, one.primary) {
			one.end()
			delete(s.running, name)
		}
	}
	for name, r := range wanted {
		if s.running[name] != nil {
			continue
		}
		run, err := feed.Open(cfg, name, feed.Options{})
		if err != nil {
			s.log.Error("no copies by schedule", "target", name, "error", err)
			continue
		}
		ctx, stop := context.WithCancel(context.Background())
		one := &schedule{primary: cfg.Primary, replica: *r, stop: stop}
		one.ended.Go(func() { keepCopied(ctx, run, s.log.With("target", name)) })
		if s.running == nil {
			s.running = make(map[string]*schedule)
		}
		s.running[name] = one
	}
}

// stop begins to end all of them; wait returns when they have, and what was half copied has
// been taken away.
func (s *schedules) stop() {
	for _, one := range s.running {
		one.stop()
	}
}

func (s *schedules) wait() {
	for _, one := range s.running {
		one.ended.Wait()
	}
}

func (o *schedule) end() {
	o.stop()
	o.ended.Wait()
}

// keepCopied copies whenever the copy is older than the schedule has it, until ctx ends.
func keepCopied(ctx context.Context, run *feed.Run, log *slog.Logger) {
	every := time.Duration(run.Replica.Schedule)
	renew := dump.Renew
	if run.Replica.Feed == configs.FeedFDW {
		renew = fdw.Renew
	}
	for {
		began := time.Now()
		next, err := renew(ctx, run, every)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, dump.ErrNeverCopied):
			log.Warn("no copies by schedule before the first; run pgshunt feed apply")
			next = min(every, scheduleRetry)
		case errors.Is(err, feed.ErrBusy):
			next = min(every, scheduleRetry)
		case err != nil:
			log.Error("copy by schedule failed", "error", err, "elapsed", time.Since(began))
			next = min(every, scheduleRetry)
		case next == every:
			log.Info("copied by schedule", "elapsed", time.Since(began))
		}
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}
