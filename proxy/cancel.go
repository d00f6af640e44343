package proxy

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// cancelKey is what a client must present to cancel what its session is doing.
// It is ours: the secret of a server never leaves pgshunt.
type cancelKey struct {
	pid    uint32
	secret []byte // 4 bytes for protocol 3.0, 32 from 3.2 on
}

// cancelTimeout bounds the side connections that cancel or terminate.
const cancelTimeout = 10 * time.Second

// Cancel requests have connections of their own to servers and to other
// instances, no more than that many at a time of each kind. Those beyond wait for
// a bounded time and are then dropped. Only a request with a right key gets as
// far as a connection to a server; one that names another instance gets as far as that.
const (
	maxCancels  = 64
	maxForwards = 16

	forwardTimeout = 5 * time.Second
)

// canceledText is PostgreSQL's own.
const canceledText = "canceling statement due to user request"

var errManyCancels = errors.New("too many cancel requests under way")

func (p *peers) newCancelKey(pid uint32, longKey bool) cancelKey {
	secret := make([]byte, 4)
	if longKey {
		secret = make([]byte, 32)
	}
	_, _ = rand.Read(secret) // never fails, see crypto/rand
	p.sign(secret)
	pid &= 1<<31 - 1
	if pid == 0 {
		pid = 1
	}
	return cancelKey{pid, secret}
}

// showNotifier puts the process id that the client knows as its session's in place of that
// of the server process, where a notification is the session's own: a client tells by that
// whether it is. One by the process that the client takes for its own is somebody else's,
// and comes from 0.
func (s *session) showNotifier(b *pool.Backend, m *wire.Message) {
	own := s.who.key.pid
	if b != s.primary || b.PID == own || !m.Whole() || len(m.Body()) < 4 {
		return
	}
	switch from := m.Body()[:4]; binary.BigEndian.Uint32(from) {
	case b.PID:
		binary.BigEndian.PutUint32(from, own)
	case own:
		binary.BigEndian.PutUint32(from, 0)
	}
}

// cancelRegistry finds sessions by their keys. Several sessions may have the same
// process id, which is a hint for people and tools; the secret tells them apart.
type cancelRegistry struct {
	mu    sync.Mutex
	byPID map[uint32][]*session
}

func (r *cancelRegistry) init() { r.byPID = make(map[uint32][]*session) }

func (r *cancelRegistry) add(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byPID[s.who.key.pid] = append(r.byPID[s.who.key.pid], s)
}

func (r *cancelRegistry) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid := s.who.key.pid
	left := slices.DeleteFunc(r.byPID[pid], func(o *session) bool { return o == s })
	if len(left) == 0 {
		delete(r.byPID, pid)
		return
	}
	r.byPID[pid] = left
}

// find compares with every candidate in constant time each.
func (r *cancelRegistry) find(pid uint32, secret []byte) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found *session
	for _, s := range r.byPID[pid] {
		if subtle.ConstantTimeCompare(s.who.key.secret, secret) == 1 {
			found = s
		}
	}
	return found
}

// cancelRequest serves a CancelRequest, whose body follows the request code. A
// wrong key or a session with nothing in flight is passed over in silence, as
// PostgreSQL does. One that another instance has passed on is not passed on again.
func (srv *Server) cancelRequest(body []byte, passedOn bool) {
	if len(body) < 8 || len(body) > 4+256 {
		return
	}
	pid, secret := binary.BigEndian.Uint32(body), body[4:]
	if peer := srv.peers.issuer(secret); peer != nil && !passedOn {
		srv.forwardCancel(peer, body)
		return
	}
	s := srv.cancels.find(pid, secret)
	if s == nil {
		srv.cfg.Log.Debug("cancel request with an unknown key")
		return
	}
	ctx, cancel := context.WithTimeout(srv.ctx, cancelTimeout)
	defer cancel()
	if !srv.canceling.take(ctx) {
		srv.cfg.Log.Warn("cancel request dropped", "error", errManyCancels)
		return
	}
	defer srv.canceling.give()
	s.cancel()
}

// cancel stops what the session has in flight, or its wait for a backend. The
// backend cannot be detached before the request has reached the server: the next
// session's statement would be hit.
func (s *session) cancel() {
	if s.walsender != nil {
		s.cancelWalsender()
		return
	}
	e := pgerr.New(pgerr.QueryCanceled, canceledText).In("cancel")
	s.cancelLine(e)
	s.mu.Lock()
	s.stopWaiting(e)
	s.awaitSettings()
	b := s.current
	if b == nil || s.inflight.len() == 0 {
		s.mu.Unlock()
		return
	}
	s.cancels++
	training := s.inflight.trainsNow()
	if training {
		s.canceled = b
	}
	onPrimary := training && b == s.primary
	if onPrimary {
		s.phase.parted.set(true) // onPrimary waits
	}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.srv.ctx, cancelTimeout)
	defer cancel()
	var err error
	if onPrimary {
		training, err = s.terminateTraining(ctx, b)
	} else {
		err = stopBackend(ctx, b, training)
	}
	if err != nil {
		s.log.Warn("cancel failed", "target", b.Key.Target, "error", err)
	}
	s.mu.Lock()
	// What has been terminated ends soon, also where it has just finished its work. It
	// must not get to another session until then.
	for training && err == nil && (s.replica == b || s.primary == b) {
		s.changed.Wait()
	}
	if s.canceled == b {
		s.canceled = nil
	}
	s.cancels--
	s.changed.Broadcast()
	detached := s.detachIfDone()
	s.mu.Unlock()
	s.release(detached)
}

// awaitSettings waits until the server has accepted the settings, or the block, that go ahead
// of a statement. A request that hit those would have the statement run without them: on
// other tables, where it is the search_path. They take no time but a server's that does
// not answer, which would not stop for a request either. The caller holds mu.
func (s *session) awaitSettings() {
	late := false
	var timer *time.Timer
	for s.inflight.settingFirst() && s.end == nil && !late {
		if timer == nil {
			s.log.Debug("a cancel request waits for the settings of its statement")
			timer = time.AfterFunc(cancelTimeout, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				late = true
				s.changed.Broadcast()
			})
			defer timer.Stop()
		}
		s.changed.Wait()
	}
}

// terminateTraining ends a training on the primary, where the session may have more to lose
// than on a replica: the process is ended only if it is still training when it can be, nothing
// more is sent to it until that is known, and what it has answered before is the client's.
func (s *session) terminateTraining(ctx context.Context, b *pool.Backend) (did bool, err error) {
	did, err = b.TerminateIf(ctx, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.primary == b && s.current == b && s.inflight.trainsNow()
	})
	if err != nil && did { // it may have been ended
		b.Close()
		return true, nil
	}
	if did { // it is for the server to hang up
		hangUp := time.AfterFunc(cancelTimeout, b.Close)
		s.mu.Lock()
		for s.primary == b {
			s.changed.Wait()
		}
		s.mu.Unlock()
		hangUp.Stop()
	}
	return did, err
}

// stopBackend cancels what b runs. A model being fitted takes no notice of a
// cancel request, so training is terminated.
func stopBackend(ctx context.Context, b *pool.Backend, training bool) error {
	if !training {
		return b.Cancel(ctx)
	}
	err := b.Terminate(ctx)
	if err == nil {
		b.Close()
	}
	return err
}

// awaitCancels waits until no cancel request is on its way to a backend that is
// about to be given back: it would hit the next session. The caller holds mu.
func (s *session) awaitCancels() {
	for s.cancels > 0 {
		s.wait()
	}
}
