package proxy

import (
	"net"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// Whatever a server sends and whatever is expected: what skim consumes, accept lets the client
// have too, and leaves the same behind.
func TestSkimAgrees(t *testing.T) {
	skimmed := 0
	rapid.Check(t, func(t *rapid.T) {
		replies := rapid.SliceOfN(rapid.Custom(anyReply), 0, 6).Draw(t, "expected")
		stream := rapid.SliceOfN(rapid.SampledFrom([]byte("123nsTDDdCCIcHVtZNSGW")), 0, 12).Draw(t, "sent")
		var sent []byte
		for _, typ := range stream {
			sent = append(sent, typ, 0, 0, 0, 8, 'x', ' ', '1', 0)
		}
		sent = sent[:rapid.IntRange(0, len(sent)).Draw(t, "arrived")]
		short, long := expecting(t, replies, sent), expecting(t, replies, sent)
		short.skim(short.primary)
		skimmed += short.primary.Reader.Pos()
		for r := long.primary.Reader; r.Pos() < short.primary.Reader.Pos(); {
			var m wire.Message
			if ok, err := r.Next(&m); !ok || err != nil {
				t.Fatalf("skimmed more than there is: %v", err)
			}
			if pass, err := long.accept(long.primary, &m); !pass || err != nil {
				t.Fatalf("%c skimmed, but %t %v", m.Type, pass, err)
			}
		}
		if got, want := short.primary.Reader.Pos(), long.primary.Reader.Pos(); got != want {
			t.Fatalf("stopped within a message at %d, not %d", got, want)
		}
		if len(short.inflight.queue) != len(long.inflight.queue) || short.inflight.head != long.inflight.head ||
			!reflect.DeepEqual(short.inflight.queue, long.inflight.queue) {
			t.Fatalf("left %+v, not %+v", short.inflight, long.inflight)
		}
		if short.phase.failed != long.phase.failed || short.phase.copyIn.is() != long.phase.copyIn.is() || short.status != long.status {
			t.Fatal("marks differ")
		}
	})
	if skimmed == 0 {
		t.Fatal("nothing was skimmed")
	}
}

func anyReply(t *rapid.T) reply {
	r := reply{
		kind:   rapid.SampledFrom([]byte("PBDECSQF")).Draw(t, "kind"),
		action: rapid.SampledFrom([]action{forward, forward, forward, forward, forward, beside, skip, mute, fake}).Draw(t, "action"),
	}
	if rapid.Bool().Draw(t, "changes a name") {
		r.name = &nameChange{also: &nameChange{}}
	}
	if rapid.IntRange(0, 3).Draw(t, "seldom") == 0 {
		r.seldom = &seldom{proof: &proof{}}
	}
	r.follow = rapid.IntRange(0, 3).Draw(t, "follow") == 0
	return r
}

// expecting is a session that is owed replies by a backend whose Reader has sent.
func expecting(t *rapid.T, replies []reply, sent []byte) *session {
	client, server := net.Pipe()
	go func() {
		_, _ = server.Write(sent)
		_ = server.Close()
	}()
	b := &pool.Backend{Reader: wire.NewReader(wire.NewConn(client), wire.TypesOf(""), 1<<20)}
	for b.Reader.Buffered() < len(sent) {
		if err := b.Reader.Fill(); err != nil {
			t.Fatal(err)
		}
	}
	s := &session{}
	s.primary, s.current, s.status = b, b, 'I'
	for _, r := range replies {
		if r.name != nil { // one of its own
			r.name = &nameChange{also: &nameChange{}}
		}
		s.inflight.push(&r)
	}
	return s
}
