package fleet

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pghosts"
)

// host is one address of a server, with a goroutine and a connection for looking at it.
type host struct {
	server *server
	at     string        // host:port, "" for any
	urgent chan struct{} // of capacity 1: look now
	looked chan struct{} // closed after the first look
	conn   *pgx.Conn     // for watch alone

	mu    sync.Mutex
	found finding
	// learned are the subscriptions that a comparison met at a time.
	learned   []subscription
	learnedAt time.Time
}

// finding is the result of the last look.
type finding struct {
	seen
	done bool  // there has been a look
	err  error // of that look; then seen is what was found before
}

// hostsOf lists whom to look at. Only of the primary each host is looked at, since one
// of them may become the primary; of a replica it does not matter which one answers.
func hostsOf(s *server) []*host {
	at := []string{""}
	if !s.Replica {
		if login, err := s.Login(""); err == nil { // else each look says what is wrong
			at = pghosts.Of(login)
		}
	}
	var all []*host
	for _, a := range at {
		all = append(all, &host{server: s, at: a, urgent: make(chan struct{}, 1), looked: make(chan struct{})})
	}
	return all
}

func (h *host) wake() {
	select {
	case h.urgent <- struct{}{}:
	default:
	}
}

// finding returns what was found last.
func (h *host) finding() finding {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.found
}

// watch looks until the watcher ends.
func (h *host) watch() {
	w := h.server.w
	defer h.hangUp()
	tick := time.NewTicker(w.cfg.Interval)
	defer tick.Stop()
	for first := true; ; first = false {
		h.look()
		if w.ctx.Err() != nil {
			return
		}
		w.change()
		if first {
			close(h.looked)
		}
		select {
		case <-tick.C:
		case <-h.urgent:
		case <-w.ctx.Done():
			return
		}
	}
}

// look asks on the connection there is, and on a new one if that fails: a connection may
// be lost though the server is well.
func (h *host) look() {
	had, began := h.conn != nil, time.Now()
	f, err := h.ask()
	if err != nil && had && h.server.w.ctx.Err() == nil {
		f, err = h.ask()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		if h.learnedAt.After(began) {
			f.subscriptions = withLearned(f.subscriptions, h.learned)
		}
		if h.found.done && !slices.Equal(h.found.subscriptions, f.subscriptions) {
			h.server.w.catalogs.expire(false) // what may be read there has changed
		}
		h.found = finding{seen: f, done: true}
		return
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == codeFull && h.found.done && h.found.err == nil {
		return // it lives, and there is no reason to think that it has changed
	}
	h.found = finding{seen: h.found.seen, done: true, err: err}
}

// learn adds subscriptions that a comparison of catalogs has met: what they bring counts as
// there from then on, and must be waited for, whenever the next look is.
func (h *host) learn(met []subscription) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.learned, h.learnedAt = met, time.Now()
	h.found.subscriptions = withLearned(h.found.subscriptions, met)
}

// withLearned is list with those of met that it lacks. list stays as it is.
func withLearned(list, met []subscription) []subscription {
	out := slices.Clip(list)
	for _, sub := range met {
		if !slices.ContainsFunc(list, func(s subscription) bool { return s.Name == sub.Name && s.Database == sub.Database }) {
			out = append(out, sub)
		}
	}
	return out
}

func (h *host) ask() (seen, error) {
	w := h.server.w
	ctx, cancel := context.WithTimeout(w.ctx, w.cfg.Timeout)
	defer cancel()
	if h.conn == nil {
		conn, err := h.server.connect(ctx, h.at, "")
		if err != nil {
			return seen{}, err
		}
		h.conn = conn
	}
	f, err := h.server.look(ctx, h.conn)
	// A primary in recovery may be a name that points to the wrong server: it is
	// resolved anew each time.
	if err != nil || f.standby && !h.server.Replica && len(h.server.hosts) == 1 {
		h.hangUp()
	}
	return f, err
}

func (h *host) hangUp() {
	hangUp(h.conn)
	h.conn = nil
}

// hangUp closes a connection without waiting for a server that may not answer.
func hangUp(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
