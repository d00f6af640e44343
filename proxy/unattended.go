package proxy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/pool"
	"pgshunt/router"
)

// training is what is remembered of a statement that trains, from its sending to its end.
type training struct {
	project string // "" where it is not known
	since   time.Time
}

// trainingBy is what a statement trains that goes by d, nil for most.
func trainingBy(d *router.Decision) *training {
	if d.Class != router.Training {
		return nil
	}
	return &training{project: d.Project}
}

// sent is what the reply carries to a message that trains t from now on, which may be nil.
func (t *training) sent() *seldom {
	if t == nil {
		return nil
	}
	return &seldom{training: &training{project: t.project, since: time.Now()}}
}

// deserted ends the session where a training was about to begin after a wait, in which the client
// has gone.
func (s *session) deserted(d *router.Decision) error {
	if d.Class != router.Training || !s.stood || !s.client.HungUp() {
		return nil
	}
	return errLeft
}

// unattended owns a backend on which a training goes on whose client has gone, with whatever
// else has been sent there (Routing.FinishTraining). It hears the server out, records how
// the training has ended, and gives the backend back.
type unattended struct {
	srv *Server
	log *slog.Logger // the session's
	b   *pool.Backend
	// owed has an entry for each ReadyForQuery that the server owes, a training where there is one.
	owed []*training
	// block: a transaction block is open there that ends with a COMMIT.
	block bool
	// For the backend's goroutine: state is the SQLSTATE of what the server is at, "" while
	// nothing is wrong; failed, that something was.
	state  string
	failed bool

	mu       sync.Mutex
	stopping bool // guarded by mu: the backend is being terminated, and is not to be given back
	sending  bool // guarded by mu: nor is it before the end of sync
	status   byte // guarded by mu: of the transaction, where the answers are here before that
	over     bool // guarded by mu
}

// unattend has what the current backend does for this session go on without it, where it
// trains and nothing but the client is missing for that. A batch of the client's that has no
// Sync is not committed, and neither is its transaction on the primary. Beside a transaction
// the Sync is pgshunt's: the caller calls sync on what is returned, without mu, which it
// holds now.
func (s *session) unattend(b *pool.Backend) *unattended {
	beside := b == s.replica && (s.status != 'I' || s.phase.openPrimary)
	switch {
	case !s.srv.plan.Load().FinishTraining, b != s.current, !s.inflight.trains(), b == s.primary && s.status != 'I':
		return nil
	case s.open() && !beside, s.phase.failed, s.phase.skipping.is(), s.phase.copyIn.is(), s.passing && s.in.MidMessage(), b.Writer.Len() > 0:
		return nil
	}
	u := &unattended{srv: s.srv, log: s.log.With("target", b.Key.Target, "backend", b.PID), b: b, block: b == s.replica && s.keep.block}
	var last *training
	s.inflight.each(func(r *reply) {
		if t := r.training(); t != nil {
			last = t
		}
		if r.endsBatch() {
			u.owed = append(u.owed, last)
			last = nil
		}
	})
	if u.sending = s.open(); u.sending {
		u.owed = append(u.owed, last)
	}
	if !u.begin() {
		return nil
	}
	for _, t := range u.owed {
		if t != nil {
			u.log.Info("training goes on without its client", "project", t.project, "elapsed", time.Since(t.since))
		}
	}
	return u
}

// begin puts u on the server's list and makes it the owner of its backend.
func (u *unattended) begin() bool {
	u.srv.work.Add(1) // the session is still counted
	if !u.srv.unattended.add(u) {
		u.srv.work.Done()
		return false
	}
	if !u.b.Attach(u) {
		u.end(false)
		return false
	}
	return true
}

// sync ends the batch that is open. The answer may be here before this is over, and the
// backend is not to be given back then.
func (u *unattended) sync(t *wire.Turn) {
	u.mu.Lock()
	sending := u.sending
	u.mu.Unlock()
	if !sending {
		return
	}
	out, _ := (&pgproto3.Sync{}).Encode(nil) // cannot fail
	if u.b.Writer.Append(t, out) != nil || u.b.Writer.Flush(t) != nil {
		u.b.Close() // Lost follows
	}
	u.mu.Lock()
	u.sending = false
	status := u.status
	u.mu.Unlock()
	if status != 0 {
		u.giveBack(status)
	}
}

// Receive hears the server out.
func (u *unattended) Receive(b *pool.Backend) error {
	var m wire.Message
	for {
		ok, err := b.Reader.Next(&m)
		if err != nil || !ok {
			return err
		}
		if !m.First {
			continue
		}
		switch m.Type {
		case 'E':
			u.failed = true
			if u.state = pgerr.Internal; m.Whole() {
				u.state = errorField(m.Body(), 'C')
			}
		case 'S':
			if name, value, ok := pool.ParameterStatus(m.Body()); m.Whole() && ok {
				b.SetParam(name, value)
			}
		case 'G', 'W':
			return errors.New("server waits for copy data of a client that has gone")
		case 'Z':
			if done, err := u.ready(m.Body()); done || err != nil {
				return err
			}
		}
	}
}

// ready ends a statement or batch, and everything with the last of them.
func (u *unattended) ready(status []byte) (done bool, err error) {
	if len(status) != 1 || len(u.owed) == 0 {
		return false, errors.New("server sent a ReadyForQuery that nobody expects")
	}
	u.record(u.owed[0], status[0])
	u.owed, u.state = u.owed[1:], ""
	if len(u.owed) > 0 {
		return false, nil
	}
	u.mu.Lock()
	sending := u.sending
	if sending {
		u.status = status[0]
	}
	u.mu.Unlock()
	if !sending {
		u.giveBack(status[0])
	}
	return true, nil
}

// giveBack lets another session have the backend, which has the transaction status given.
func (u *unattended) giveBack(status byte) {
	if !u.end(true) {
		return // it is being terminated
	}
	state := pool.Dirty
	switch {
	case u.block && status == 'T' && !u.failed:
		state = pool.Finished // the client may have had more there than the block
	case status != 'I':
		state = pool.InTransaction
	}
	u.b.Writer.Discard()
	u.srv.pools.Release(u.b, state)
}

// record tells how a training has ended; what it was about and what it has answered stay
// unsaid. In a transaction that nobody is there to commit it was for nothing.
func (u *unattended) record(t *training, status byte) {
	if t == nil {
		return
	}
	log := u.log.With("project", t.project, "elapsed", time.Since(t.since))
	switch {
	case u.state != "":
		log.Info("training ended without its client", "sqlstate", u.state)
	case status == 'I' || u.block:
		log.Info("training ended without its client", "sqlstate", "00000")
	default:
		log.Info("training rolled back with the transaction of its client")
	}
	if u.b.Key.Target != primaryTarget {
		u.srv.modelsChanged(u.b.Key.Target)
	}
}

// Lost tells that the server has ended the connection.
func (u *unattended) Lost(b *pool.Backend, err error) {
	u.mu.Lock()
	stopping := u.stopping
	u.mu.Unlock()
	if !u.end(false) {
		return
	}
	switch {
	case stopping:
		u.state = pgerr.AdminShutdown
	case u.state == "":
		u.state = pgerr.ConnectionFailure
	}
	for _, t := range u.owed {
		u.record(t, 'I')
	}
	if !stopping {
		u.log.Warn("connection to server lost", "error", err)
		u.srv.Look(b.Key.Target)
	}
}

// end takes u off the server's list, once. It reports false where that has been done, and,
// to somebody who gives the backend back, where it is being terminated.
func (u *unattended) end(giveBack bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.over || giveBack && u.stopping {
		return false
	}
	u.over = true
	u.srv.unattended.remove(u)
	u.srv.work.Done()
	return true
}

// stop terminates the training: the time for a shutdown is over.
func (u *unattended) stop() {
	u.mu.Lock()
	over := u.over
	u.stopping = !over
	u.mu.Unlock()
	if over {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), cancelTimeout)
	defer cancel()
	if err := stopBackend(ctx, u.b, true); err != nil {
		u.log.Warn("cancel failed", "error", err)
		u.b.Close() // Lost follows
	}
}

// unattendedSet holds what a shutdown waits for beside sessions. The zero value is empty. Safe
// for concurrent use; no other lock is taken under its own.
type unattendedSet struct {
	mu     sync.Mutex
	all    map[*unattended]struct{}
	closed bool
}

// add reports false once all have been stopped.
func (set *unattendedSet) add(u *unattended) bool {
	set.mu.Lock()
	defer set.mu.Unlock()
	if set.closed {
		return false
	}
	if set.all == nil {
		set.all = make(map[*unattended]struct{})
	}
	set.all[u] = struct{}{}
	return true
}

func (set *unattendedSet) remove(u *unattended) {
	set.mu.Lock()
	defer set.mu.Unlock()
	delete(set.all, u)
}

// stop terminates them all, and lets no more come.
func (set *unattendedSet) stop() {
	set.mu.Lock()
	defer set.mu.Unlock()
	set.closed = true
	for u := range set.all {
		go u.stop()
	}
}
