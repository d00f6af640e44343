package proxy

import (
	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// skim consumes what a server sends most, up to the first message that needs more
// thought or has not come in one piece: rows and plain ends of replies, all for the
// client, which change nothing but the queue. accept has the rules for all messages, and
// agrees (TestSkimAgrees). The caller holds mu.
func (s *session) skim(b *pool.Backend) {
	r := b.Reader
	if b != s.current || r.MidMessage() {
		return
	}
	all := r.Unread()
	rest := all
	for first := s.inflight.first(); first != nil && first.action == forward && first.seldom == nil; {
		size := wire.SizeWhole(rest)
		if size == 0 {
			break
		}
		typ := rest[0]
		ends, usual := false, true
		switch typ {
		case 'D', 'd', 'c', 'H', 'V', 't':
		case '1', '2', '3', 'n', 's':
			ends = first.kind == endsReplyTo[typ]
			usual = ends
		case 'T':
			ends = first.kind == 'D'
		case 'C', 'I':
			ends, usual = first.kind == 'E', !first.follow
		default:
			usual = false
		}
		if !usual {
			break
		}
		rest = rest[size:]
		if ends {
			s.inflight.pop()
			first = s.inflight.first()
		}
	}
	r.Skip(len(all) - len(rest))
}
