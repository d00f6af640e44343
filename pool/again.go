package pool

import (
	"errors"
	"time"

	"pgshunt/internal/pgerr"
)

// A target that is waited for (Target.Awaited) may be away for a while, as a primary is
// that fails over. Sessions in line stay there for as long as Config.Wait allows, and
// the login is tried again meanwhile; nothing of theirs has run yet. Each of them gets the
// last answer of the server, or what stood in the way, when its wait is over.

// How long the pool waits between logins that fail: twice as long each time.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
)

// unreachable tells whether a login failed because there is no server to talk to, or none
// that accepts connections.
func unreachable(err error) bool {
	e := (*pgerr.Error)(nil)
	return errors.As(err, &e) && (e.Code == pgerr.CannotConnect || e.Code == pgerr.CannotConnectNow)
}

// tryLater has the login tried again where somebody waits. The caller holds the mutex.
func (p *Pool) tryLater(err error) {
	p.failing = err
	if p.pausing || p.waiters.Len() == 0 {
		return
	}
	p.pause = min(max(2*p.pause, firstPause), lastPause)
	p.rest(p.pause)
}

// rest has the login tried again after a pause, or once that is cut. The caller holds the mutex.
func (p *Pool) rest(pause time.Duration) {
	cut := make(chan struct{})
	p.pausing, p.cut = true, cut
	p.parent.work.Go(func() {
		timer := time.NewTimer(pause)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-cut:
		case <-p.parent.ctx.Done():
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pausing, p.cut = false, nil
		p.dialIfWanted()
	})
}

// cutPause ends a pause, since the login leads elsewhere now. The caller holds the mutex.
func (p *Pool) cutPause() {
	if p.cut != nil {
		close(p.cut)
		p.cut, p.pause = nil, 0
	}
}

// reached notes that a login has succeeded. The caller holds the mutex.
func (p *Pool) reached() { p.failing, p.pause = nil, 0 }

// Failing returns why there is no connection to the server at present: the error of the
// last login where sessions wait for one that succeeds, or nil.
func (p *Pool) Failing() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failing
}

// errInVain is the error for a wait that is over. The caller holds the mutex.
func (p *Pool) errInVain() error {
	if p.failing == nil {
		return p.errWait()
	}
	e := *pgerr.From(p.failing)
	if e.Hint == "" {
		e.Hint = "See the log of pgshunt, and run \"pgshunt check\"."
	}
	return e.WithDetail("It has been tried for %s, see pool.wait. Nothing of the statement has run.", p.parent.cfg.Wait)
}
