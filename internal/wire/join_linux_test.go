package wire

import (
	"errors"
	"net"
	"runtime"
	"testing"
	"time"
)

// left is a handler that ends with its Conn, and tells.
type left struct {
	r     *Reader
	ended chan error
}

func (h *left) Ready(t *Turn) {
	if _, err := h.r.FillNow(t); err != nil {
		select {
		case h.ended <- err:
		default: // it has been told before
		}
	}
}

// A Conn may be closed while it joins: when its descriptor has been duplicated, and there is
// no socket yet that Close would find. The handler must hear of it all the same, and the
// other side see the end.
func TestCloseWhileJoining(t *testing.T) {
	ls := startLoops(t, 1)
	local, remote := tcpPair(t)
	defer remote.Close()
	c := NewConn(local)
	h := &left{r: NewReader(c, TypesOf(""), 1<<30), ended: make(chan error, 1)}
	l := ls.loops[0]
	l.mu.Lock() // stops Join on its way, behind the duplicate
	joined := make(chan bool)
	go func() { joined <- c.Join(ls, h) }()
	for local.SetDeadline(time.Time{}) == nil { // until Join has closed the original
		runtime.Gosched()
	}
	err := c.Close()
	l.mu.Unlock()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	if !soon(t, "the end of Join", joined) {
		t.Fatal("a plain socket did not join")
	}
	c.Resume()
	if err := soon(t, "the call of the handler", h.ended); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the handler sees %v", err)
	}
	seesTheEnd(t, remote)
}
