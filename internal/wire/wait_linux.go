package wire

import (
	"net"
	"os"
	"syscall"
	"time"
)

// waitRoom waits until the socket takes more bytes, it is closed, or the deadline
// for writes has passed.
func (k *socket) waitRoom(t *Turn) error {
	t.Block()
	l := k.loop
	l.mu.Lock()
	if k.uses.Load() >= shut { // close has given its token, and perhaps to nobody
		l.mu.Unlock()
		return net.ErrClosed
	}
	if k.room == nil {
		k.room = make(chan struct{}, 1)
	}
	deadline := k.deadline
	k.writing = true
	err := k.watch()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if !awaitToken(k.room, deadline) {
		return os.ErrDeadlineExceeded
	}
	l.mu.Lock()
	past := !k.deadline.IsZero() && !time.Now().Before(k.deadline)
	l.mu.Unlock()
	if past {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// waitBytes waits until there is something to read, the socket is closed, or the
// deadline has passed. It returns early when the socket is woken.
func (k *socket) waitBytes(t *Turn, deadline time.Time) error {
	t.Block()
	l := k.loop
	l.mu.Lock()
	if k.uses.Load() >= shut {
		l.mu.Unlock()
		return net.ErrClosed
	}
	if k.bytes == nil {
		k.bytes = make(chan struct{}, 1)
	}
	if k.again { // woken before
		k.again = false
		l.mu.Unlock()
		return os.ErrDeadlineExceeded
	}
	k.awaited = true
	err := k.watch()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	in := awaitToken(k.bytes, deadline)
	l.mu.Lock()
	defer l.mu.Unlock()
	woken := k.again
	k.awaited, k.again = false, false
	_ = k.watch() // narrows what is asked for, which cannot fail
	if k.uses.Load() >= shut {
		return net.ErrClosed
	}
	if woken || !in {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// awaitToken reports false when the deadline passes first; the zero time is none.
func awaitToken(ch <-chan struct{}, deadline time.Time) bool {
	if deadline.IsZero() {
		<-ch
		return true
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-ch:
		return true
	case <-timer.C:
		return false
	}
}

// tell lets those who wait try again: events says what epoll has found.
func (k *socket) tell(events uint32) {
	l := k.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if events&^(syscall.EPOLLIN|syscall.EPOLLRDHUP) != 0 {
		k.writing = false
		give(k.room)
	}
	if events&hangUps != 0 && k.gone != nil {
		go k.gone() // it may want locks of those who call the Loop
		k.gone = nil
	}
	if events&^syscall.EPOLLOUT != 0 && k.awaited {
		k.awaited = false
		give(k.bytes)
	}
	_ = k.watch() // narrows what is asked for, which cannot fail
}

// give puts a token into ch unless it has one. A nil channel has nobody waiting.
func give(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (k *socket) setWriteDeadline(t time.Time) {
	k.loop.mu.Lock()
	k.deadline = t
	give(k.room)
	k.loop.mu.Unlock()
}
