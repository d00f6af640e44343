package fleet

import (
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pghosts"
)

// seat is where the primary is, from one promotion to the next. Immutable: who compares
// pointers sees that it has moved.
type seat struct {
	host *host
	wal  wal // of the look that found it
}

// follow finds out which of the hosts is the primary now.
func (w *Watcher) follow() {
	if w.primary == nil {
		return
	}
	last := w.seat.Load()
	h := choose(last, w.primary.hosts)
	if h == nil {
		return // the last one remains, in whatever trouble it is
	}
	wal := h.finding().wal
	if last != nil && last.host == h && last.wal.timeline == wal.timeline && last.wal.system == wal.system {
		return
	}
	next := &seat{host: h, wal: wal}
	w.history.reset(next)
	w.seat.Store(next)
	if last != nil || len(w.primary.hosts) > 1 {
		w.cfg.Log.Info("primary found", "target", w.primary.Name, "address", h.at)
	}
	if w.cfg.Primary == nil {
		return
	}
	login, err := w.primary.Login("")
	if err != nil {
		w.cfg.Log.Error("login to the primary is not configured", "target", w.primary.Name, "error", err)
		return
	}
	pghosts.Narrow(login, h.at)
	w.cfg.Primary(login)
}

// choose returns the host that is the primary: one that is not in recovery. Of two, as
// there are when an old primary comes back, it is the one on the higher timeline, since
// every promotion begins a new one. A timeline lower than the last one is the past, even
// if nobody else answers. It is nil if there is no primary.
func choose(last *seat, hosts []*host) *host {
	var best *host
	var of wal
	if last != nil {
		of = last.wal
		if f := last.host.finding(); f.err == nil && !f.standby && f.wal.timeline >= of.timeline {
			best, of = last.host, f.wal
		}
	}
	for _, h := range hosts {
		f := h.finding()
		switch {
		case h == best || !f.done || f.err != nil || f.standby:
		case best == nil && last == nil:
			best, of = h, f.wal
		case f.wal.system != of.system:
			// Another cluster is nobody's successor, whatever its timeline. After the move
			// to a new cluster pgshunt is to be told where that is.
		case f.wal.timeline > of.timeline, best == nil && f.wal.timeline == of.timeline:
			best, of = h, f.wal
		}
	}
	return best
}

// AtPrimary leaves of the hosts in cfg, which logs in to the primary, only the one that is
// the primary now. It leaves cfg as it is while that is not known.
func (w *Watcher) AtPrimary(cfg *pgconn.Config) {
	if seat := w.seat.Load(); seat != nil {
		pghosts.Narrow(cfg, seat.host.at)
	}
}
