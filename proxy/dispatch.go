package proxy

import (
	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
)

// dispatch executes one message, or a piece of one.
func (s *session) dispatch(m *wire.Message) error {
	if !m.First {
		return s.piece(m)
	}
	s.passing = false
	if s.refused && m.Type != 'S' {
		return nil
	}
	if size := len(m.Data) + m.Rest; size > s.by.unquestioned {
		if size-1 > maxSmall && !largeTypes[m.Type] { // the length does not count the type
			return s.afterAnswers(pgerr.Fatal(pgerr.ProtocolViolation, "invalid message length").In("dispatch"))
		}
		if e := s.oversized(m); e != nil {
			return s.afterAnswers(e)
		}
	}
	if (s.copySent || s.copying()) && !copyTypes[m.Type] {
		if err := s.settle(); err != nil {
			return err
		}
		if s.copySent = s.copying(); s.copySent {
			return s.interruptCopy(m)
		}
	}
	if m.Rest > 0 {
		if done, err := s.beginLarge(m); done || err != nil {
			return err
		}
	}
	if s.rec.on && m.Type != 'B' {
		s.recordNext(m)
	}
	err := s.handle(m)
	if s.try.on {
		s.keepAttempt(m)
	}
	return err
}

// handle executes a message by its type.
func (s *session) handle(m *wire.Message) error {
	switch m.Type {
	case 'Q':
		return s.query(m)
	case 'P':
		return s.parse(m)
	case 'B':
		return s.bind(m)
	case 'D':
		return s.describe(m)
	case 'E':
		return s.execute(m)
	case 'C':
		return s.closeName(m)
	case 'S':
		return s.sync(m)
	case 'H':
		return s.flushMessage(m)
	case 'F':
		return s.functionCall(m)
	case 'd', 'c', 'f':
		return s.copyData(m)
	}
	return s.afterAnswers(pgerr.Fatal(pgerr.ProtocolViolation, "invalid frontend message type %d", m.Type).In("dispatch"))
}

// afterAnswers returns e once the messages before the bad one have been answered:
// they were right. Where the server is about to hang up, that is the end.
func (s *session) afterAnswers(e *pgerr.Error) error {
	if err := s.probeInterrupted(); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	return e
}

// Limits of PostgreSQL (PQ_SMALL_MESSAGE_LIMIT and PQ_LARGE_MESSAGE_LIMIT in
// libpq/libpq.h): only these types may be larger than 10,000 bytes.
const (
	maxSmall         = 10000
	maxClientMessage = 1 << 30
)

var (
	largeTypes  = wire.TypesOf("QPBFd")
	clientWhole = wire.TypesOf("QPBDECSHFcfp")
	copyTypes   = wire.TypesOf("dcfSH") // what a server accepts while it expects copy data
)
