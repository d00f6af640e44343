package wire

import (
	"io"
	"net"
	"sync/atomic"
)

// Handler is whoever reads a Conn that has joined a Loop.
type Handler interface {
	// Ready is called when bytes may have arrived (Reader.FillNow tells), when the
	// stream or the Conn has ended, or after Conn.Wake. One call at a time for each
	// Conn. t is valid until Ready returns.
	//
	// Ready runs on the goroutine that serves all Conns of the Loop. Before it waits
	// for anything it must call t.Block.
	Ready(t *Turn)
}

// Turn is one call of Handler.Ready. The nil *Turn stands for a goroutine that
// serves nobody else and may wait as it likes.
type Turn struct {
	loop *Loop
	sock *socket
	// gone: another goroutine serves the Loop now.
	gone bool
	// spares are the Loop's, for as long as the Turn leads.
	spares *spares
}

// spares are small buffers at hand without a detour through the pool.
type spares struct {
	bufs [4]*[]byte
	n    int
}

// borrow returns a small buffer.
func (t *Turn) borrow() *[]byte {
	if t.Leads() && t.spares.n > 0 {
		t.spares.n--
		return t.spares.bufs[t.spares.n]
	}
	return borrow(smallBuffer)
}

// giveBack takes a buffer of any size.
func (t *Turn) giveBack(b *[]byte) {
	if t.Leads() && len(*b) == smallBuffer && t.spares.n < len(t.spares.bufs) {
		t.spares.bufs[t.spares.n] = b
		t.spares.n++
		return
	}
	giveBack(b)
}

// Block makes the calling goroutine free to wait: another one takes over the Loop,
// and the Conn of this Turn is left alone until Ready returns. It may be called
// several times and is nearly free after the first.
func (t *Turn) Block() {
	if t == nil || t.gone {
		return
	}
	t.gone = true
	t.handOver()
}

// Leads tells whether the calling goroutine serves a Loop and must not wait.
func (t *Turn) Leads() bool { return t != nil && !t.gone }

// leading tells whether the calling goroutine serves l, which no other does then.
func (t *Turn) leading(l *Loop) bool { return t != nil && t.loop == l && !t.gone }

// Loops is a set of Loops that share the work. The nil *Loops has none, and
// nothing joins it.
type Loops struct {
	loops []*Loop
	next  atomic.Uint32 // counts picks
}

// NewLoops starts n Loops. It returns nil where the system has none; every Conn is
// then read by a goroutine of its own.
func NewLoops(n int) (*Loops, error) {
	ls := &Loops{}
	for range n {
		l, err := newLoop()
		if err != nil {
			ls.Close()
			return nil, err
		}
		if l == nil {
			return nil, nil
		}
		ls.loops = append(ls.loops, l)
	}
	return ls, nil
}

// pick returns the Loop for the next Conn.
func (ls *Loops) pick() *Loop {
	return ls.loops[ls.next.Add(1)%uint32(len(ls.loops))]
}

// Close ends the Loops. All Conns that joined must have been closed.
func (ls *Loops) Close() {
	if ls == nil {
		return
	}
	for _, l := range ls.loops {
		l.close()
	}
}

// Accept accepts the connections that come to l, which it takes over, and calls
// accepted for each on a Loop's goroutine, which must not wait: it gives the Conn a
// handler and resumes it. failed is told of errors that pass. It returns nil where
// l is not a TCP listener or there are no Loops. After Close of the result nothing
// is accepted any more.
func (ls *Loops) Accept(l net.Listener, accepted func(*Conn), failed func(error)) io.Closer {
	if ls == nil {
		return nil
	}
	a := accept(l, ls, accepted, failed)
	if a == nil {
		return nil
	}
	return a
}
