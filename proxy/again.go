package proxy

import (
	"bytes"
	"encoding/binary"

	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// A server refuses a Bind with 0A000, "cached plan must not change result type", when
// the schema has changed since the statement was prepared. The copy is then of no
// use on any backend (pool.Catalog.Renew), and where it is certain that nothing
// has run and that the client takes the new columns for what they are, the batch is
// sent again, once, with the statement prepared anew. That is the case where
//
//   - the session is outside a transaction block, and the Bind that was refused is the
//     first of its batch: what came before it in the batch only parsed or closed;
//   - its Sync is the last thing sent: nothing after it may have run already;
//   - no Describe of the statement has told the client of the old columns, or
//     a Describe in this very batch comes before the rows;
//   - the parameters mean the same whatever type the server takes them for now: they are text,
//     or the client has given their types.
//
// Everything else surfaces as PostgreSQL said it. The batch is kept as the client
// sent it, in a small buffer, until it has been answered.
type record struct {
	// Only for the session's goroutine: on while a batch is being recorded; spent where
	// the batch at hand cannot be any more; repeating while it is sent again; sent
	// from its Sync until the next message.
	on, spent, repeating, sent bool
	// unsafe: the client could take the answer for something else. unseen is the
	// portal whose columns the client must still ask for, where blind is set. All of
	// them are constant once sealed is set.
	unsafe, blind bool
	unseen        string
	// from is where in the client's Reader begins what has not been copied to buf yet, -1
	// where everything has.
	from int

	// sealed: from Sync until the answer, where the session's goroutine has nothing to do
	// with buf. idle: nothing is sent after it.
	sealed, idle mark
	buf          []byte // guarded by link.mu from sealed on
}

// maxRecord is the longest batch that is kept.
const maxRecord = 4 << 10

// keptRecord is the most that a session holds on to for the next batch.
const keptRecord = 512

// recordBind follows a Bind of a named statement. first is set where it begins a record.
func (s *session) recordBind(m *wire.Message, st statement, portal []byte, params []byte) (first bool) {
	r := &s.rec
	if !r.on && (r.spent || r.repeating) || !m.Whole() || len(m.Data) > maxRecord {
		r.cannot()
		return false
	}
	if !r.on {
		r.on, r.unsafe, r.blind, r.from = true, false, false, -1
		first = true
	}
	s.recordFrom(m)
	r.unsafe = r.unsafe || r.blind || !plainParameters(params, st.prepared)
	if *st.described {
		r.blind, r.unseen = true, string(portal)
	}
	return first
}

// recordFrom notes that m, which the client's Reader has just returned, is part of the record.
func (s *session) recordFrom(m *wire.Message) {
	if s.rec.from < 0 {
		s.rec.from = s.in.Pos() - len(m.Data)
	}
}

// recordCopy copies what has been recorded, before the client's Reader is filled again.
func (s *session) recordCopy() {
	r := &s.rec
	if r.from < 0 {
		return
	}
	p := s.in.Span(r.from, s.in.Pos())
	r.from = -1
	if len(r.buf)+len(p) > maxRecord {
		r.cannot()
		return
	}
	r.buf = append(r.buf, p...)
}

// cannot ends a record, since what follows cannot be sent again.
func (r *record) cannot() {
	if r.on {
		r.empty()
	}
	r.on, r.spent = false, true
}

func (r *record) empty() {
	if r.buf = r.buf[:0]; cap(r.buf) > keptRecord {
		r.buf = nil
	}
}

// recordNext keeps the message after those that are being recorded.
func (s *session) recordNext(m *wire.Message) {
	r := &s.rec
	if !m.Whole() {
		r.cannot()
		return
	}
	s.recordFrom(m)
	switch m.Type {
	case 'D':
		if kind, name, ok := object(m); ok && kind == 'P' && r.blind && string(name) == r.unseen {
			r.blind = false
		}
	case 'E':
		r.unsafe = r.unsafe || r.blind
	case 'S':
		if s.recordCopy(); r.on {
			r.on, r.sent = false, true
			r.idle.set(false)
			r.sealed.set(true)
		}
	}
}

// recordIdle notes that all input has been used, so that nothing follows what is
// about to be written.
func (s *session) recordIdle() {
	if s.rec.on {
		s.recordCopy()
	}
	if s.rec.sent {
		s.rec.idle.set(true)
	}
	if s.try.sent {
		s.mu.Lock()
		s.try.idle = true
		s.mu.Unlock()
	}
}

// takeAgain tells whether the last batch must be sent again, and returns it. Otherwise
// it cannot any more, since another message follows. The caller holds mu.
func (s *session) takeAgain() (batch []byte) {
	r := &s.rec
	if s.phase.again {
		s.phase.again = false
		if batch = s.try.take(); batch == nil {
			batch, r.buf = r.buf, nil
		}
	}
	r.sent = false
	r.idle.set(false)
	s.try.sent, s.try.idle = false, false
	s.dropRecord()
	return batch
}

// dropRecord forgets a batch that has been answered. The caller holds mu.
func (s *session) dropRecord() {
	s.try.drop()
	if r := &s.rec; r.sealed.is() && !s.phase.again {
		r.sealed.set(false)
		r.empty()
	}
}

// repeatIfAsked sends the last batch again if that has been found right and necessary.
func (s *session) repeatIfAsked() error {
	if !s.rec.sealed.is() && !s.try.sent { // it has been answered
		s.rec.sent = false
		return nil
	}
	s.mu.Lock()
	batch := s.takeAgain()
	s.mu.Unlock()
	return s.repeatBatch(batch)
}

func (s *session) repeatBatch(batch []byte) error {
	if batch == nil {
		return nil
	}
	if to := s.try.to; to != "" {
		s.log.Info("read sent to another server", "target", to)
	} else {
		s.log.Debug("statement prepared again after a change of the schema")
	}
	s.rec.repeating, s.untouched = true, false
	defer func() { s.rec.repeating, s.try.to = false, "" }()
	for rest := batch; len(rest) > 0; {
		size := 1 + int(binary.BigEndian.Uint32(rest[1:]))
		m := wire.Message{Type: rest[0], Data: rest[:size], First: true}
		rest = rest[size:]
		if err := s.dispatch(&m); err != nil {
			return err
		}
	}
	return nil
}

// outdated handles an error that says that a plan is out of date, and tells whether
// the batch is going to be sent again, so that the client does not hear of it.
// The caller holds mu.
func (s *session) outdated(b *pool.Backend, first *reply, m *wire.Message) bool {
	if first.uses == nil || !m.Whole() || errorField(m.Body(), 'C') != "0A000" || errorField(m.Body(), 'R') != "RevalidateCachedQuery" {
		return false
	}
	s.srv.catalog.Renew(first.uses)
	r := &s.rec
	switch {
	case !first.recorded, !r.sealed.is(), r.unsafe, r.blind, s.status != 'I', s.keep.block:
		return false
	case s.phase.writing && !r.idle.is(), !s.inflight.endsWithOnlySync():
		return false // something is on its way already that would then run before it
	}
	s.inflight.dropToSync(func(r *reply) { s.undo(b, r) })
	s.inflight.first().action = skip
	s.phase.again = true
	s.client.Wake()
	return true
}

// endsWithOnlySync tells whether the last reply expected is the only one to a Sync.
func (q *inflight) endsWithOnlySync() bool {
	for i := q.head; i < len(q.queue); i++ {
		if q.queue[i].kind == 'S' {
			return i == len(q.queue)-1 && q.queue[i].action == forward
		}
	}
	return false
}

// plainParameters tells whether what follows the statement's name in a Bind means the
// same whatever types the server finds for the parameters: no format is binary, or
// the client has given all the types.
func plainParameters(params []byte, p *pool.Prepared) bool {
	number := func(b []byte) (n int, rest []byte, ok bool) {
		if len(b) < 2 {
			return 0, nil, false
		}
		return int(binary.BigEndian.Uint16(b)), b[2:], true
	}
	formats, rest, ok := number(params)
	if !ok || len(rest) < 2*formats+2 {
		return false
	}
	plain := true
	for i := range formats {
		plain = plain && binary.BigEndian.Uint16(rest[2*i:]) == 0
	}
	if plain {
		return true
	}
	values, _, _ := number(rest[2*formats:])
	_, types, _ := bytes.Cut([]byte(p.Body), []byte{0})
	given, types, ok := number(types)
	if !ok || given < values || len(types) < 4*given {
		return false
	}
	for i := range values {
		if binary.BigEndian.Uint32(types[4*i:]) == 0 {
			return false
		}
	}
	return true
}
