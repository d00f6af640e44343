package pool

import (
	"math"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// held is the set of prepared statements that one server process has, by their
// names there: names of ours (Prepared.Name), and the clients' own for statements
// that SQL refers to. Safe for concurrent use: what the server has refused is taken
// back where its answer is read.
type held struct {
	maxNumber, maxBytes int

	mu    sync.Mutex
	names *simplelru.LRU[string, *holding] // guarded by mu, as is everything below
	bytes int
	// recent is the statement used last, which comes first in names; nil when it has gone.
	recent *holding
	// doubtful holds names that may be on the server although nobody counts on them: a
	// Close of them may have been skipped, or a Parse may have come through. The value
	// is the batch of the session in which a Close was sent that has not been answered,
	// 0 where there is none.
	doubtful map[string]uint64
}

// holding is a statement on a server.
type holding struct {
	name string
	p    *Prepared
	// at is the moment from which the server's copy dates.
	at uint64
	// batch is the batch of the session in which it was sent, 0 once the server has
	// said that it is there.
	batch uint64
}

func newHeld(number, bytes int) *held {
	if bytes <= 0 {
		bytes = math.MaxInt
	}
	h := &held{maxNumber: max(number, 1), maxBytes: bytes, doubtful: make(map[string]uint64)}
	names, err := simplelru.NewLRU(math.MaxInt, func(name string, e *holding) {
		h.bytes -= len(name) + e.p.Size()
		if h.recent == e {
			h.recent = nil
		}
	})
	if err != nil {
		panic("BUG: " + err.Error())
	}
	h.names = names
	return h
}

// Has tells whether the server process has p under a name, in a copy that dates from
// since or later, and counts that as a use of it. uncertain is set where the answer
// hangs on a message sent in an earlier batch than the given one.
func (b *Backend) Has(name string, p *Prepared, since, batch uint64) (has, uncertain bool) {
	h := b.held
	h.mu.Lock()
	e := h.recent
	if e == nil || e.name != name {
		e, _ = h.names.Get(name)
		h.recent = e
	}
	if has = e != nil && e.p == p && e.at >= since; has {
		uncertain = e.batch != 0 && e.batch != batch
	}
	h.mu.Unlock()
	return has, uncertain
}

// Copy returns the moment from which the server's copy of p under a name dates; 0
// is that there is none.
func (b *Backend) Copy(name string, p *Prepared) uint64 {
	b.held.mu.Lock()
	defer b.held.mu.Unlock()
	if e, ok := b.held.names.Peek(name); ok && e.p == p {
		return e.at
	}
	return 0
}

// Taken tells whether the server process has, or may have, a statement of that name when
// it comes to what is sent next in a batch. A Close sent in the same batch is skipped only
// together with that; one of an earlier batch may have been skipped.
func (b *Backend) Taken(name string, batch uint64) bool {
	h := b.held
	h.mu.Lock()
	defer h.mu.Unlock()
	closing, doubtful := h.doubtful[name]
	return doubtful && closing != batch || h.names.Contains(name)
}

// Hold records that p is being prepared under a name at a moment, in a batch of the
// session (0: it is there). Excess has what must go for it.
func (b *Backend) Hold(name string, p *Prepared, at, batch uint64) {
	h := b.held
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names.Remove(name)
	delete(h.doubtful, name)
	h.recent = &holding{name: name, p: p, at: at, batch: batch}
	h.names.Add(name, h.recent)
	h.bytes += len(name) + p.Size()
}

// Sure records that the server has said that p is there.
func (b *Backend) Sure(name string, p *Prepared) {
	b.held.mu.Lock()
	defer b.held.mu.Unlock()
	if e, ok := b.held.names.Peek(name); ok && e.p == p {
		e.batch = 0
	}
}

// Excess returns the names that the server must be told to close in a batch, so that the
// statements on it stay within their bounds in number and bytes; they count as Closing.
// The statement used last is never among them.
func (b *Backend) Excess(batch uint64) (names []string) {
	h := b.held
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, closing := range h.doubtful {
		if closing == 0 {
			names = append(names, name)
			h.doubtful[name] = batch
		}
	}
	for n := h.names.Len(); n > h.maxNumber || n > 1 && h.bytes > h.maxBytes; n-- {
		name, _, _ := h.names.GetOldest()
		names = append(names, name)
		h.closing(name, batch)
	}
	return names
}

// Strange returns the names that the server may have and that are neither names of ours
// nor among those that belong: they are to be closed in a batch, and count as Closing.
// p is nil where it is not known what has the name. belongs must not take a lock.
func (b *Backend) Strange(batch uint64, belongs func(name string, p *Prepared) bool) (names []string) {
	h := b.held
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, closing := range h.doubtful {
		if closing != batch && !belongs(name, nil) {
			names = append(names, name)
		}
	}
	for _, name := range h.names.Keys() {
		if e, _ := h.names.Peek(name); e.p.Name != name && !belongs(name, e.p) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		h.closing(name, batch)
	}
	return names
}

// Closing records that the server is being told to close a name in a batch of the
// session. Closed is to follow, or Forget where the message has been skipped.
func (b *Backend) Closing(name string, batch uint64) {
	b.held.mu.Lock()
	defer b.held.mu.Unlock()
	b.held.closing(name, batch)
}

// closing is Closing for a caller that holds mu.
func (h *held) closing(name string, batch uint64) {
	if e, ok := h.names.Peek(name); ok && e.batch != 0 {
		batch = 0 // the next Closed may be about a Close from before that copy
	}
	h.names.Remove(name)
	h.doubtful[name] = batch
}

// Closed records that the server has closed a name as it was told.
func (b *Backend) Closed(name string) {
	h := b.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.doubtful[name] != 0 {
		delete(h.doubtful, name)
	}
}

// Forget records that the server may not have p under that name, or may have it
// although nobody knows. A nil p stands for whatever has the name.
func (b *Backend) Forget(name string, p *Prepared) {
	h := b.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if e, ok := h.names.Peek(name); ok && p != nil && e.p != p {
		return // there is another by now
	}
	h.names.Remove(name)
	h.doubtful[name] = 0
}

// Gone records that the server has no statement of that name any more.
func (b *Backend) Gone(name string) {
	h := b.held
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names.Remove(name)
	delete(h.doubtful, name)
}

// ForgetAll records that the server is about to drop every statement, which it may
// still fail to do.
func (b *Backend) ForgetAll() {
	h := b.held
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range h.names.Keys() {
		h.doubtful[name] = 0
	}
	h.names.Purge()
}

// AllGone records that the server has dropped every statement. Those that it has not
// confirmed yet were sent after the message that did it.
func (b *Backend) AllGone() {
	h := b.held
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.doubtful)
	for _, name := range h.names.Keys() {
		if e, _ := h.names.Peek(name); e.batch == 0 {
			h.names.Remove(name)
		}
	}
}
