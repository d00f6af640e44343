package proxy

import (
	"sync"
	"sync/atomic"

	"pgshunt/pool"
)

// link is what a session's two sides share: the session's goroutine, which reads
// the client and writes to backends, and the goroutine of the backend that
// answers, which writes to the client.
//
// At any time replies are expected from one backend only, the current one. The
// session turns to another when it is quiet. The client's socket is written by
// whoever holds the relaying mark, so no lock is held across a write.
type link struct {
	mu      sync.Mutex
	changed sync.Cond // something below changed that somebody may wait for

	// primary and replica are the attached backends, current is one of them or nil.
	primary, replica, current *pool.Backend
	inflight                  inflight
	keep                      keep

	// status is the transaction status the client has been told last: I, T or E.
	status byte
	phase  phase
	// cancels counts cancel requests on their way to the current backend; it may not
	// be detached before they have arrived.
	cancels int
	// withheld is what the client gets only if something comes that makes a server flush it.
	withheld []byte
	// trained: the current backend was training when end was set and inflight given up.
	trained bool
	// end is why the session must end although its client has not said so.
	end error
}

// phase holds the marks of what is going on in a link.
type phase struct {
	// relaying: a goroutine writes to the client.
	relaying bool
	// writing: the session's goroutine, which alone changes it, is at work on input and
	// may write to the current backend.
	writing bool
	// parted: a backend has been lost since the session last turned to one.
	parted mark
	// openPrimary, openReplica: the server has had extended-protocol messages since its last Sync.
	openPrimary, openReplica bool
	// failed: an error was met in the current batch or, in the simple protocol, statement.
	failed bool
	// skipping: the server ignores everything up to a Sync that has not been sent yet.
	skipping mark
	// copyIn: the server expects copy data.
	copyIn mark
	// again: the last batch is to be sent once more by the session's goroutine.
	again bool
	// leaving: the client has said goodbye, and what it has asked for is still coming.
	leaving bool
	// fatal: the server has announced the end of the connection.
	fatal bool
}

// mark is changed under mu, and read without it by the session's goroutine, which
// asks at each message and would not know under mu whether it changes a moment later.
type mark struct{ on atomic.Bool }

func (m *mark) is() bool { return m.on.Load() }

// set stores only what changes, since a store costs what a lock does.
func (m *mark) set(on bool) {
	if m.on.Load() != on {
		m.on.Store(on)
	}
}

// quiet tells whether nothing is expected and nothing is being written to the
// client. The caller holds mu.
func (l *link) quiet() bool { return l.inflight.len() == 0 && !l.phase.relaying && !l.phase.again }

// open tells whether the current backend is within an extended-protocol batch.
// The caller holds mu.
func (l *link) open() bool {
	return l.current != nil && (l.current == l.primary && l.phase.openPrimary || l.current == l.replica && l.phase.openReplica)
}

func (l *link) setOpen(open bool) {
	if l.current != nil && l.current == l.replica {
		l.phase.openReplica = open
	} else {
		l.phase.openPrimary = open
	}
}
