package proxy

import (
	"bytes"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/parser"
)

// large is a Query or Parse that comes in pieces, since it has no room in a buffer, while schema changes
// are ordered: none may pass unseen. Up to parser.MaxDefinition its text is gathered where it may have
// one, and then handled like any other. A larger one passes piece by piece while somebody looks
// for the first words of statements of DDL, and with the first of them it is spoiled. What is
// copied, and the values of Bind, are no texts. For the session's goroutine.
type large struct {
	// gathered is the message as far as it has come, nil where it passes.
	gathered []byte
	// finder is nil where the message is none of these.
	finder *parser.Finder
	size   int
	// spoiled: the rest of it is sent as zeros, which no server takes for a message. It says so, and
	// has carried out nothing.
	spoiled bool
}

// finder looks for statements of DDL as the session's settings have strings read.
func (s *session) finder() parser.Finder {
	s.awaitStrings()
	s.mu.Lock()
	defer s.mu.Unlock()
	return parser.Finder{Escapes: !s.state.conforming(), Wide: s.state.asciiInside(), Halfwidth: s.state.halfwidth()}
}

// ordersTexts tells whether texts of the session may have changes that are ordered.
func (s *session) ordersTexts() bool {
	o := s.srv.plan.Load().Orderer
	return o != nil && o.Orders(s.who.database)
}

// beginLarge looks at the first piece of a large message. done means that it is dealt with.
func (s *session) beginLarge(m *wire.Message) (done bool, err error) {
	s.large = large{}
	if m.Type != 'Q' && m.Type != 'P' || !s.ordersTexts() {
		return false, nil
	}
	f := s.finder()
	s.large.size = len(m.Data) + m.Rest
	text := m.Body()
	if m.Type == 'P' { // its name comes first
		if _, rest, ok := cut(m); ok {
			text = rest
		}
	}
	found := f.Find(text)
	switch {
	case s.large.size <= parser.MaxDefinition && (m.Type == 'Q' || f.Undecided()):
		s.rec.cannot()
		s.large.gathered = bytes.Clone(m.Data) // which grows with what comes, and not with what is said to come
		return true, nil
	case found:
		s.plan = s.srv.plan.Load()
		return true, s.fail(tooLarge(s.large.size), m.Type == 'Q')
	}
	s.large.finder = &f
	return false, nil
}

// piece handles what follows of a large message.
func (s *session) piece(m *wire.Message) error {
	l := &s.large
	switch {
	case l.gathered != nil:
		l.gathered = append(l.gathered, m.Data...)
		if m.Rest > 0 {
			return nil
		}
		whole := wire.Message{Type: l.gathered[0], Data: l.gathered, First: true}
		s.large = large{}
		s.untouched = false // it is not where it could be put back
		return s.dispatch(&whole)
	case !s.passing:
		return nil
	case l.finder != nil:
		s.spoil(m)
	}
	if err := s.pass(m); err != nil || m.Rest > 0 || m.Type != 'Q' {
		return err
	}
	return s.follow() // of a batch that it has ended
}

// spoil has the server refuse what has turned out to change the schema.
func (s *session) spoil(m *wire.Message) {
	l := &s.large
	if !l.spoiled && l.finder.Find(m.Data) {
		l.spoiled = true
		s.mu.Lock()
		if r := s.inflight.last(); r != nil && r.kind == m.Type {
			also := seldom{}
			if r.seldom != nil {
				also = *r.seldom
			}
			also.instead = tooLarge(l.size)
			r.seldom = &also
		}
		s.mu.Unlock()
	}
	if l.spoiled {
		clear(m.Data)
	}
}

func tooLarge(size int) *pgerr.Error {
	return pgerr.New(pgerr.ProgramLimit, "a text of %d bytes that may change the schema is too large to be ordered with the PostgresML servers", size).
		WithHint("Send statements of DDL by themselves, in texts of at most %d bytes, or use \"pgshunt feed migrate -f FILE\".", parser.MaxDefinition).In("beginLarge")
}
