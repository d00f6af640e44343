package wire

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// Loop serves the sockets of many Conns from one epoll set.
//
// One goroutine at a time leads it: it waits for events and calls the handlers
// itself, so that a message is received, looked at and sent on without a switch of
// goroutines. A handler that must wait for something calls Turn.Block, which
// starts another leader; its own goroutine then belongs to that handler alone and
// ends with it (the pattern is known as leader and followers).
//
// The set is level-triggered: whatever a handler leaves unread is reported again.
// A Conn whose handler is waiting is taken out of the set meanwhile.
type Loop struct {
	epfd int
	bell int // an eventfd in slot 0, rung to end a wait

	events [64]syscall.EpollEvent // the leader's, as are spares
	spares spares
	// pending is set while woken or dead is not empty or the Loop is to end; waiting while
	// the leader waits, or is about to, without having seen pending.
	pending, waiting atomic.Bool

	// slots has the sockets; an event carries slot and generation. It is changed under
	// mu, and replaced by a larger one.
	slots atomic.Pointer[[]atomic.Pointer[socket]]

	mu         sync.Mutex
	used       int       // guarded by mu; so many slots have been given out once
	free       []int32   // guarded by mu
	woken      []*socket // guarded by mu
	dead       []*socket // guarded by mu; their descriptors are to be closed
	ended      bool      // guarded by mu
	unled      bool      // guarded by mu; the last leader has gone
	generation int32     // guarded by mu; of the socket enrolled last
	done       chan struct{}
}

// busyWait is for how many milliseconds the leader waits in the kernel without
// telling Go's scheduler. Traffic is answered from there; only a quiet Loop goes
// the scheduler's way, which costs several microseconds for each event. The price is
// a processor (in the sense of GOMAXPROCS) that nobody else can use meanwhile, so
// there must be more of those than Loops. A signal ends the wait, which is how the
// runtime gets the processor for a garbage collection.
//
// It is longer than any tick of the kernel, which has a timer then that is due before
// ours. Otherwise each wait would set the clock's next interrupt and the end of the wait
// set it back, and on a virtual machine both are an exit to the host.
const busyWait = 20

// edgeTriggered is EPOLLET as an unsigned number. With it the bell is heard at every
// ring and need not be silenced by reading it.
const edgeTriggered = 1 << 31

func newLoop() (*Loop, error) {
	epfd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &Loop{epfd: epfd, bell: -1, used: 1, done: make(chan struct{})} // slot 0 is the bell's
	l.slots.Store(new(make([]atomic.Pointer[socket], 16)))
	if err := l.prepare(); err != nil {
		l.closeFiles()
		return nil, err
	}
	go l.lead()
	return l, nil
}

func (l *Loop) prepare() error {
	bell, _, errno := syscall.RawSyscall(syscall.SYS_EVENTFD2, 0, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errno != 0 {
		return os.NewSyscallError("eventfd2", errno)
	}
	l.bell = int(bell)
	ev := syscall.EpollEvent{Events: syscall.EPOLLIN | edgeTriggered}
	if err := syscall.EpollCtl(l.epfd, syscall.EPOLL_CTL_ADD, l.bell, &ev); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

func (l *Loop) closeFiles() {
	if l.bell >= 0 {
		_ = syscall.Close(l.bell)
	}
	_ = syscall.Close(l.epfd)
}

// close ends the leader and waits for it.
func (l *Loop) close() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.ring()
	<-l.done
	l.closeFiles()
}

// ring makes the leader look at what is pending.
func (l *Loop) ring() {
	l.pending.Store(true)
	if !l.waiting.Load() {
		return // it looks before it waits
	}
	one := [8]byte{1} // any number but 0, in any byte order
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(l.bell), uintptr(unsafe.Pointer(&one)), 8)
}

// lead serves the Loop until it ends or a handler blocks, which makes another
// goroutine lead.
func (l *Loop) lead() {
	t := &Turn{loop: l, spares: &l.spares}
	for {
		if l.pending.Load() {
			led, ended := l.servePending(t)
			if ended {
				close(l.done)
			}
			if !led {
				return
			}
		}
		n := l.wait()
		for i := range n {
			ev := l.events[i]
			if ev.Fd == 0 {
				continue // the bell: what is pending comes next
			}
			k, muted := l.at(ev.Fd, ev.Pad)
			if k != nil && (muted || ev.Events&^syscall.EPOLLIN != 0) {
				k.tell(ev.Events)
			}
			if !muted && ev.Events != syscall.EPOLLOUT && !l.serve(k, t) {
				return
			}
		}
	}
}

// serve calls the handler of k. It reports false when another goroutine leads now.
func (l *Loop) serve(k *socket, t *Turn) bool {
	t.sock = k
	k.handler.Ready(t)
	if !t.gone {
		return true
	}
	k.resume()
	return false
}

// servePending closes what is to be closed and serves the sockets that Wake was called for.
func (l *Loop) servePending(t *Turn) (led, ended bool) {
	for {
		l.mu.Lock()
		l.closeDead()
		if l.ended {
			l.unled = true
			l.mu.Unlock()
			return false, true
		}
		if len(l.woken) == 0 {
			l.pending.Store(false)
			l.mu.Unlock()
			return true, false
		}
		k := l.woken[0]
		l.woken = append(l.woken[:0], l.woken[1:]...)
		k.queued = false
		if k.muted.Load() {
			k.again = true
			if k.awaited { // since the Wake
				give(k.bytes)
			}
			k = nil
		}
		l.mu.Unlock()
		if k != nil && !l.serve(k, t) {
			return false, false
		}
	}
}

// closeDead closes the descriptors of sockets that have been buried. The caller holds mu and
// leads, or nobody does: those who lead use descriptors without being counted.
func (l *Loop) closeDead() {
	for i, k := range l.dead {
		_ = syscall.Close(k.fd) // which takes it out of the epoll set
		k.events = 0
		l.dead[i] = nil
	}
	l.dead = l.dead[:0]
}

// wait returns the number of events found; 0 is nothing to worry about.
func (l *Loop) wait() int {
	l.waiting.Store(true)
	n := 0
	if !l.pending.Load() {
		n = l.poll()
	}
	l.waiting.Store(false)
	return n
}

// poll is wait without the bell.
func (l *Loop) poll() int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.epfd),
		uintptr(unsafe.Pointer(&l.events[0])), uintptr(len(l.events)), busyWait, 0, 0)
	if errno != 0 {
		return 0 // a signal; the call that follows lets the scheduler in
	}
	if n > 0 {
		return int(n)
	}
	found, _ := syscall.EpollWait(l.epfd, l.events[:], -1) // fails only with a signal
	return max(found, 0)
}

// at returns the socket of an event, nil where it has been closed by a handler
// called just before.
func (l *Loop) at(slot, generation int32) (k *socket, muted bool) {
	k = (*l.slots.Load())[slot].Load()
	if k == nil || k.generation != generation {
		return nil, true
	}
	return k, k.muted.Load()
}

// enroll gives k a slot. The caller holds mu.
func (l *Loop) enroll(k *socket) {
	if n := len(l.free); n > 0 {
		k.slot = l.free[n-1]
		l.free = l.free[:n-1]
	} else {
		k.slot = int32(l.used)
		l.used++
	}
	l.generation++
	k.generation = l.generation
	slots := *l.slots.Load()
	if int(k.slot) == len(slots) {
		more := make([]atomic.Pointer[socket], 2*len(slots))
		for i := range slots {
			more[i].Store(slots[i].Load())
		}
		slots = more
		l.slots.Store(&more)
	}
	slots[k.slot].Store(k)
}

// vacate frees the slot of k. The caller holds mu.
func (l *Loop) vacate(k *socket) {
	(*l.slots.Load())[k.slot].Store(nil)
	l.free = append(l.free, k.slot)
}

// handOver makes another goroutine lead.
func (t *Turn) handOver() {
	t.sock.mute()
	go t.loop.lead()
}
