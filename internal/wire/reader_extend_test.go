package wire

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// extended is m, of copy data, with what Extend adds to it.
func extended(r *Reader, m Message) ([]message, error) {
	const limit = 100
	from, size := r.Pos()-len(m.Data), len(m.Data)
	r.Extend(&m, 'd', limit)
	if !bytes.Equal(r.Span(from, r.Pos()), m.Data) || cap(m.Data) != len(m.Data) {
		return nil, errors.New("the span of extended messages is not their data")
	}
	all, broken := reference(m.Data, 1<<30)
	total := 0
	for i, one := range all {
		total += headerSize + len(one.Body)
		if one.Type != 'd' || i > 0 && headerSize+len(one.Body) > limit {
			return nil, errors.New("a message was added that must stand alone")
		}
	}
	if broken || total != len(m.Data) || headerSize+len(all[0].Body) != size {
		return nil, errors.New("extended messages are not whole")
	}
	if next := r.Unread(); len(next) > 0 && next[0] == 'd' && SizeWhole(next) > 0 && SizeWhole(next) <= limit {
		return nil, errors.New("a message was left out")
	}
	return all, nil
}

func TestExtendStopsAtWhatIsNotItsOwn(t *testing.T) {
	small, large := message{'d', "small"}, message{'d', strings.Repeat("x", 96)}
	for name, c := range map[string]struct {
		sent []message
		want int
	}{
		"alone":         {[]message{small}, 1},
		"another type":  {[]message{small, small, {'c', ""}, small}, 2},
		"too large":     {[]message{small, small, large, small}, 2},
		"large itself":  {[]message{large, small}, 2},
		"not yet whole": {[]message{small, small, {'d', strings.Repeat("y", 50)}}, 2},
	} {
		local, remote := tcpPair(t)
		var stream []byte
		for _, m := range c.sent {
			stream = append(stream, encode(m)...)
		}
		if name == "not yet whole" {
			stream = stream[:len(stream)-1]
		}
		_, _ = remote.Write(stream)
		r := NewReader(NewConn(local), TypesOf(testTypes), testLimit)
		for r.Buffered() < len(stream) {
			if err := r.Fill(); err != nil {
				t.Fatal(err)
			}
		}
		var m Message
		if ok, err := r.Next(&m); !ok || err != nil {
			t.Fatal(ok, err)
		}
		got, err := extended(r, m)
		if err != nil || !slices.Equal(got, c.sent[:c.want]) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
		r.Release()
		_, _ = local.Close(), remote.Close()
	}
}
