package proxy

import (
	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/parser"
	"pgshunt/pool"
)

// action says what happens to the messages of one expected reply.
type action uint8

const (
	// forward passes them to the client.
	forward action = iota
	// beside passes all but ReadyForQuery: the statement ran beside the client's
	// transaction, whose status only the primary knows.
	beside
	// skip drops them, except an error: the message was injected on the client's behalf.
	skip
	// mute drops them, errors too.
	mute
	// fake stands for a reply made here that must wait its turn.
	fake
)

// reply is what a server, or pgshunt in its place, still owes for one message.
type reply struct {
	// kind is the type of the frontend message: P B D C E, S for Sync, Q, F, or c for
	// the end of copy data, which has no answer of its own.
	kind   byte
	action action
	// unseen is set where the statement may write more than its text shows,
	// follow where the completion of statement changes the session's state,
	// flushed where a Flush follows the message, late where nothing ever will since the
	// client has said goodbye, and recorded on the first message of a batch that could
	// be sent again (again.go).
	unseen, follow, flushed, late, recorded bool
	// part counts the statements of a simple query that have completed.
	part int
	// statement is what runs on the primary.
	statement *parser.Statement
	// name is what the message does to the session's own names; it is undone if it fails.
	name *nameChange
	// unnamed is set where the message replaces or drops the unnamed statement: to
	// session.replaced.
	unnamed uint64
	// uses is the statement that the message is about where it has a name of ours there,
	// and usedAs the client's own name for it.
	uses   *pool.Prepared
	usedAs string
	// seldom is nil for nearly all messages.
	seldom *seldom
}

// seldom is what few messages have to do with.
type seldom struct {
	// bound is what the statement sets, where that came with Bind.
	bound []parser.Setting
	// held is the prepared statement that the message creates on the backend and heldAs
	// its name there; a Close has the name alone. Both are undone if it fails.
	held   *pool.Prepared
	heldAs string
	// proof is set where the message is a question of ours that only pgshunt hears of; curbs,
	// where it changes the session's bound; block, where it opens a block on a replica or repeats
	// savepoints there, without which nothing that follows may run.
	proof *proof
	curbs bool
	block bool
	// training is set where the message trains, or ends a batch that does.
	training *training
	// instead is what the client is told in place of the error that the message was made to have.
	instead *pgerr.Error
}

// instead is what the client gets in place of the error m, nil where it gets that.
func (r *reply) instead(m *wire.Message) *pgerr.Error {
	if r.seldom == nil || !m.Whole() || isFatal(m.Body()) {
		return nil
	}
	return r.seldom.instead
}

// blocks tells whether the message is about a block on a replica.
func (r *reply) blocks() bool { return r.seldom != nil && r.seldom.block }

// bound is what the message sets by the parameters of a Bind.
func (r *reply) bound() []parser.Setting {
	if r.seldom == nil {
		return nil
	}
	return r.seldom.bound
}

// proof is the question of ours that the message is, or nil.
func (r *reply) proof() *proof {
	if r.seldom == nil {
		return nil
	}
	return r.seldom.proof
}

// training is what the message trains, or nil.
func (r *reply) training() *training {
	if r.seldom == nil {
		return nil
	}
	return r.seldom.training
}

// endsBatch tells whether a server answers the message with a ReadyForQuery.
func (r *reply) endsBatch() bool {
	return r.action != fake && (r.kind == 'Q' || r.kind == 'S' || r.kind == 'F')
}

// done notes that b has what the message was to create there, or no more what it was to
// close.
func (r *reply) done(b *pool.Backend) {
	switch also := r.seldom; {
	case also == nil || also.heldAs == "":
	case also.held == nil:
		b.Closed(also.heldAs)
	default:
		b.Sure(also.heldAs, also.held)
	}
}

// creates tells that the message creates p under a name on the backend.
func creates(p *pool.Prepared, name string) *seldom { return &seldom{held: p, heldAs: name} }

// inflight is the queue of replies still expected from the current backend, in
// the order in which they must come (PostgreSQL documentation, "Message Flow").
// It is guarded by link.mu.
type inflight struct {
	queue []reply
	head  int
}

// maxInflight bounds the queue; past it the session stops reading its client.
const maxInflight = 1024

func (q *inflight) len() int { return len(q.queue) - q.head }

// first returns the reply that the next message belongs to, or nil.
func (q *inflight) first() *reply {
	if q.head == len(q.queue) {
		return nil
	}
	return &q.queue[q.head]
}

// settingFirst tells whether the server is about to do something of ours ahead of a statement.
func (q *inflight) settingFirst() bool {
	r := q.first()
	return r != nil && r.kind == 'Q' && r.action == mute
}

// last returns the reply to what was sent last, or nil.
func (q *inflight) last() *reply {
	if q.len() == 0 {
		return nil
	}
	return &q.queue[len(q.queue)-1]
}

// fakeFirst tells whether the next reply is made here.
func (q *inflight) fakeFirst() bool {
	return q.head < len(q.queue) && q.queue[q.head].action == fake
}

// push copies r to the end of the queue.
func (q *inflight) push(r *reply) {
	if q.head > 0 && len(q.queue) == cap(q.queue) {
		n := copy(q.queue, q.queue[q.head:])
		q.queue, q.head = q.queue[:n], 0
	}
	if n := len(q.queue); n < cap(q.queue) { // append would copy *r aside first
		q.queue = q.queue[:n+1]
		q.queue[n] = *r
		return
	}
	q.queue = append(q.queue, *r)
}

// pushCopyEnd notes the end of copy data. Several in a row are as good as one,
// and a client may send any number.
func (q *inflight) pushCopyEnd() {
	if n := len(q.queue); n == q.head || q.queue[n-1].kind != 'c' {
		q.push(&reply{kind: 'c', action: fake})
	}
}

// pop removes the first reply, which stays as it is until the next push.
func (q *inflight) pop() *reply {
	r := &q.queue[q.head]
	for c := r.name; c != nil; c = c.also {
		if c.fate == pending {
			c.fate = kept
		}
	}
	if q.head++; q.head == len(q.queue) {
		q.head, q.queue = 0, q.queue[:0]
		if cap(q.queue) > 64 {
			q.queue = nil
		}
	}
	return r
}

// trains tells whether anything that is expected comes from a training.
func (q *inflight) trains() (does bool) {
	q.each(func(r *reply) { does = does || r.training() != nil })
	return does
}

// trainsNow tells whether the server is training, as far as it can be at anything but the
// first batch.
func (q *inflight) trainsNow() bool {
	for i := q.head; i < len(q.queue); i++ {
		switch r := &q.queue[i]; {
		case r.training() != nil:
			return true
		case r.endsBatch() && r.action != mute:
			return false
		}
	}
	return false
}

// batches counts those that are expected, muted ones left out.
func (q *inflight) batches() (n int) {
	q.each(func(r *reply) {
		if r.endsBatch() && r.action != mute {
			n++
		}
	})
	return n
}

// carry has the end of the batch stand for a training of it that has been answered: it is
// not committed before. Where that end has not been sent there is nothing to be done.
func (q *inflight) carry(t *training) {
	for i := q.head; i < len(q.queue); i++ {
		if r := &q.queue[i]; r.kind == 'S' {
			r.seldom = &seldom{training: t}
			return
		}
	}
}

// each calls f for every reply that is expected.
func (q *inflight) each(f func(*reply)) {
	for i := q.head; i < len(q.queue); i++ {
		f(&q.queue[i])
	}
}

// replacing tells whether the message that replaces the unnamed statement for the n-th
// time is still to be answered.
func (q *inflight) replacing(n uint64) (is bool) {
	q.each(func(r *reply) { is = is || r.unnamed == n })
	return is
}

// markFlushed notes that a Flush follows what has been sent.
func (q *inflight) markFlushed() {
	if n := len(q.queue); n > q.head {
		q.queue[n-1].flushed = true
	}
}

// withhold has the client not be given what its last, open batch has not asked to
// be flushed, unless an error or so much comes after it that a server flushes it.
func (q *inflight) withhold() {
	for i := len(q.queue) - 1; i >= q.head; i-- {
		r := &q.queue[i]
		if r.flushed || r.kind == 'S' || r.kind == 'Q' || r.kind == 'F' {
			return
		}
		r.late = r.action == forward || r.action == fake && r.kind != 'c'
	}
}

// dropToSync removes what the server skips after an error, calling undo for
// each. It reports whether a Sync was found, which is then the first.
func (q *inflight) dropToSync(undo func(*reply)) bool {
	for r := q.first(); r != nil; r = q.first() {
		if r.kind == 'S' {
			return true
		}
		undo(q.pop())
	}
	return false
}

// dropCopied removes the Syncs that the server reads while it expects copy data
// and ignores: those sent after the COPY and before the end of the data. It
// reports whether that end has been sent already, and whether the batch that the
// COPY is part of has lost its Sync and goes on.
func (q *inflight) dropCopied() (ended, reopened bool) {
	kept := q.queue[:q.head+1]
	rest := q.queue[q.head+1:]
	for _, r := range rest {
		ended = ended || r.kind == 'c'
		if !ended && r.kind == 'S' {
			reopened = q.queue[q.head].kind == 'E'
			continue
		}
		reopened = reopened && r.kind != 'S'
		kept = append(kept, r)
	}
	clear(q.queue[len(kept):])
	q.queue = kept
	return ended, reopened
}
