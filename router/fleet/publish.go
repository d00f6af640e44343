package fleet

import (
	"reflect"
	"time"

	"pgshunt/router"
)

// publishing makes a snapshot of whatever has changed, until the watcher ends.
func (w *Watcher) publishing() {
	for {
		var settled chan struct{}
		select {
		case <-w.changed:
		case settled = <-w.settle:
		case <-w.ctx.Done():
			return
		}
		w.follow()
		w.publish()
		if settled != nil {
			close(settled)
		}
	}
}

// publish hands on a snapshot that is not the same as the last one.
func (w *Watcher) publish() {
	last, next := w.current.Load(), w.assemble()
	if same(last, next) {
		return
	}
	w.current.Store(next)
	for i := range next.Targets {
		w.tell(&last.Targets[i], &next.Targets[i])
		if next.Targets[i].Healthy && !last.Targets[i].Healthy {
			w.catalogs.wake() // it may be the first time that it can be asked
		}
	}
	if w.cfg.Publish != nil {
		w.cfg.Publish(next)
	}
}

// same compares by content; what is large is shared between snapshots that have the
// same, and so costs nothing.
func same(a, b *router.Fleet) bool { return reflect.DeepEqual(a, b) }

// tell logs what has become of a target.
func (w *Watcher) tell(last, next *router.Target) {
	switch {
	case last.Healthy == next.Healthy && last.Trouble == next.Trouble:
	case !next.Healthy:
		w.cfg.Log.Warn("target unhealthy", "target", next.Name, "reason", next.Trouble)
	case next.Trouble != "":
		w.cfg.Log.Warn("target healthy in part", "target", next.Name, "reason", next.Trouble)
	default:
		w.cfg.Log.Info("target healthy", "target", next.Name)
	}
	if last.LagKnown && !next.LagKnown {
		w.cfg.Log.Info("lag of target unknown", "target", next.Name)
	}
}

// assemble makes a snapshot of what is known now.
func (w *Watcher) assemble() *router.Fleet {
	f := &router.Fleet{Targets: make([]router.Target, len(w.servers)), Catalogs: *w.catalogs.ready.Load()}
	for i, s := range w.servers {
		f.Targets[i] = s.target()
	}
	return f
}

// target is what is known of a server now.
func (s *server) target() router.Target {
	t := router.Target{
		Name: s.Name, Replica: s.Replica, Training: s.Training, Inference: s.Inference, Reads: s.Reads,
		Feed: s.Feed, Weight: s.Weight, Zone: s.Zone,
	}
	h := s.hosts[0]
	if seat := s.w.seat.Load(); seat != nil && !s.Replica {
		h = seat.host
	}
	f := h.finding()
	t.Standby, t.Pgml = f.standby, f.pgml
	t.Trouble, t.Healthy = s.judge(f)
	if s.Replica {
		t.Models = s.models.names()
		t.Lag, t.LagKnown = s.behind(f)
	}
	return t
}

// The troubles of a server that answers and is not what it is configured to be.
const (
	troubleStandby   = "is in recovery, as a standby is"
	troubleNoStandby = "is no standby, though its feed is native"
	troubleNoPgml    = "has no pgml extension"
)

// judge says what is wrong with a server, and whether it may be used all the same.
func (s *server) judge(f finding) (phrase string, healthy bool) {
	needsPgml := s.Replica && (s.Training || s.Inference)
	switch native := s.Feed == router.FeedNative; {
	case !f.done:
		return troubleUnseen, false
	case f.err != nil:
		return trouble(f.err), false
	case f.standby && !(s.Replica && native):
		return troubleStandby, false
	case s.Replica && native && !f.standby:
		return troubleNoStandby, false
	case needsPgml && f.pgml == "":
		return troubleNoPgml, s.Reads
	}
	return "", true
}

// behind is the lag that a snapshot shows.
func (s *server) behind(f finding) (time.Duration, bool) {
	switch {
	case (s.Feed == router.FeedDump || s.Feed == router.FeedFDW) && !f.copied.IsZero():
		return coarse(time.Since(f.copied)), true
	case s.Feed == router.FeedFDW:
		return 0, true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return coarse(s.lag.now(s.w.cfg.Interval)), s.lag.known
}

// coarse rounds a lag up, so that a snapshot does not differ from the one before by
// milliseconds. A lag below a tenth of a second counts as none: it is what looking
// at two servers costs.
func coarse(d time.Duration) time.Duration {
	step := time.Hour
	switch {
	case d < 100*time.Millisecond:
		return 0
	case d < time.Second:
		step = 100 * time.Millisecond
	case d < time.Minute:
		step = time.Second
	case d < time.Hour:
		step = time.Minute
	}
	return (d + step - 1).Truncate(step)
}
