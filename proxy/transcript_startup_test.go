package proxy_test

import (
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pgshunt/internal/pgtest"
	"pgshunt/proxy"
)

// opening is one way to begin a connection, raw. PostgreSQL without TLS is the
// oracle, but for what its version does not speak.
type opening struct {
	name string
	// encryption is a request that is answered by one byte before the rest is sent.
	encryption []byte
	send       []byte
	// want is what pgshunt says instead of what PostgreSQL says, and why.
	want []string
	why  string
}

// packet makes a packet without a type: length, code, body.
func packet(code uint32, body string) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(binary.BigEndian.AppendUint32(out, code), body...)
}

func version(major, minor uint32) uint32 { return major<<16 | minor }

const (
	cancelCode = 1234<<16 | 5678
	sslCode    = 1234<<16 | 5679
	gssCode    = 1234<<16 | 5680
)

func openings(database string) []opening {
	login := "user\x00postgres\x00database\x00" + database + "\x00"
	ssl, gss, start := packet(sslCode, ""), packet(gssCode, ""), packet(version(3, 0), login+"\x00")
	const (
		spoken  = "PostgreSQL 17 and older speak 3.0 only; from 18 on the answer is pgshunt's"
		silent  = "PostgreSQL hangs up and tells only its log why; pgshunt says so"
		badSize = `ErrorResponse FATAL 08P01 "invalid length of startup packet" from startup`
	)
	versions := func(v string) []string {
		return []string{`ErrorResponse FATAL 0A000 "unsupported frontend protocol ` + v + `: server supports 3.0 to 3.2" from startup`, "closed"}
	}
	return []opening{
		{name: "3.0", send: start},
		{name: "SSLRequest refused, then plain", encryption: ssl, send: start},
		{
			name: "GSSENCRequest refused, then SSLRequest", encryption: gss, send: ssl, want: []string{"N", "N"},
			why: "PostgreSQL may be built with GSSAPI, and may have it; pgshunt has not",
		},
		{name: "TLS without asking", send: []byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")},
		{
			name: "bytes after SSLRequest", send: slices.Concat(ssl, start),
			want: []string{
				`ErrorResponse FATAL 08P01 "received unencrypted data after SSL request" detail "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack." from startup`,
				"closed",
			},
			why: "pgshunt refuses before it has answered",
		},
		{
			name: "SSLRequest twice", encryption: ssl, send: ssl,
			want: []string{`ErrorResponse FATAL 08P01 "encryption requested twice" from startup`, "closed"},
			why:  "PostgreSQL takes the second for a protocol version 1234.5679",
		},
		{
			name: "an unknown protocol option", send: packet(version(3, 0), login+"_pq_.x\x00on\x00\x00"),
		},
		{
			name: "3.2", send: packet(version(3, 2), login+"\x00"),
			want: []string{"BackendKeyData secret of 32 bytes"}, why: spoken,
		},
		{
			name: "3.9", send: packet(version(3, 9), login+"_pq_.x\x00on\x00_pq_.y\x00\x00\x00"),
			want: []string{`NegotiateProtocolVersion 3.2 ["_pq_.x" "_pq_.y"]`, "BackendKeyData secret of 32 bytes"}, why: spoken,
		},
		{name: "4.0", send: packet(version(4, 0), login+"\x00"), want: versions("4.0"), why: spoken},
		{name: "2.0", send: packet(version(2, 0), login+"\x00"), want: versions("2.0"), why: spoken},
		{name: "cancel request with an unknown key", send: packet(cancelCode, "\x00\x00\x00\x01\x00\x00\x00\x01")},
		{name: "cancel request without a key", send: packet(cancelCode, "")},
		{name: "cancel request with half a key", send: packet(cancelCode, "\x00\x00\x00\x01\x00\x00")},
		{name: "cancel request too long", send: packet(cancelCode, strings.Repeat("x", 300))},
		{name: "length 0", send: make([]byte, 8), want: []string{badSize, "closed"}, why: silent},
		{name: "length 3", send: []byte{0, 0, 0, 3, 0, 3, 0, 0}, want: []string{badSize, "closed"}, why: silent},
		{name: "length 7", send: []byte{0, 0, 0, 7, 0, 3, 0}, want: []string{badSize, "closed"}, why: silent},
		{name: "length 10,001", send: []byte{0, 0, 0x27, 0x11, 0, 3, 0, 0}, want: []string{badSize, "closed"}, why: silent},
		{name: "length 2^31", send: []byte{0x80, 0, 0, 0, 0, 3, 0, 0}, want: []string{badSize, "closed"}, why: silent},
		{name: "length 2^32-1", send: []byte("\xff\xff\xff\xff\x00\x03\x00\x00"), want: []string{badSize, "closed"}, why: silent},
		{name: "no final zero", send: packet(version(3, 0), login)},
		{name: "unterminated name", send: packet(version(3, 0), "user")},
		{name: "unterminated value", send: packet(version(3, 0), "user\x00postgres")},
		{name: "bytes after the final zero", send: packet(version(3, 0), login+"\x00x\x00")},
		{name: "nothing", send: packet(version(3, 0), "\x00")},
		{name: "not even nothing", send: packet(version(3, 0), "")},
		{name: "no user", send: packet(version(3, 0), "database\x00"+database+"\x00\x00")},
	}
}

// open sends an opening and returns what comes back. The order of parameters is
// the server's own affair.
func (o *opening) open(t *testing.T, addr string, bytewise bool) []string {
	t.Helper()
	p := dialPeer(t, addr)
	defer p.conn.Close()
	var said []string
	if o.encryption != nil {
		p.write(o.encryption, bytewise)
		answer := make([]byte, 1)
		if err := p.conn.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(p.conn, answer); err != nil {
			t.Fatal(err)
		}
		said = append(said, string(answer))
	}
	p.write(o.send, bytewise)
	if len(o.send) == 8 && (o.send[7] == sslCode&0xff || o.send[7] == gssCode&0xff) {
		said = append(said, o.byteAndMore(p)...)
	} else {
		said = append(said, texts(p.read(1, "ReadyForQuery"))...)
	}
	slices.SortStableFunc(said, func(a, b string) int {
		if strings.HasPrefix(a, "ParameterStatus") && strings.HasPrefix(b, "ParameterStatus") {
			return strings.Compare(a, b)
		}
		return 0
	})
	return said
}

// byteAndMore reads the answer to a request for encryption: one byte, or an error.
func (o *opening) byteAndMore(p *peer) []string {
	first := make([]byte, 1)
	_ = p.conn.SetReadDeadline(time.Now().Add(answerTimeout)) // a failure shows in the read
	if _, err := io.ReadFull(p.conn, first); err != nil {
		return []string{"closed"}
	}
	if first[0] == 'N' || first[0] == 'S' {
		return []string{string(first)}
	}
	p.unread(first)
	return texts(p.read(1, "ReadyForQuery"))
}

func TestTranscriptsOfStartup(t *testing.T) {
	oracle, primary := pgtest.SharedReplica(t), pgtest.SharedPrimary(t)
	f := start(t, setup{primary: primary})
	session := start(t, setup{primary: primary, proxy: proxy.Config{SessionMode: true}})
	for _, o := range openings("postgres") {
		t.Run(o.name, func(t *testing.T) {
			want := o.open(t, address(oracle), false)
			if o.want != nil {
				want = o.differs(want)
			}
			for _, addr := range []string{f.addr, session.addr} {
				for _, bytewise := range []bool{false, true} {
					if o.name == "bytes after SSLRequest" && bytewise {
						continue // how much has arrived when the request is answered is chance
					}
					said := o.open(t, addr, bytewise)
					if o.want == nil { // errors of the startup are pgshunt's own, in PostgreSQL's words
						said[0], _, _ = strings.Cut(said[0], " from ")
					}
					if diff := cmp.Diff(want, said); diff != "" {
						t.Errorf("byte by byte %v, %s (-PostgreSQL +pgshunt):\n%s", bytewise, o.why, diff)
					}
				}
			}
		})
	}
}

// differs applies the decided difference: each line of want takes the place of the
// oracle's line of that kind; where the oracle has none of them, of all it said.
func (o *opening) differs(oracle []string) []string {
	if slices.Contains(o.want, "closed") || slices.Contains(o.want, "N") {
		if o.want[0] == "N" {
			return o.want
		}
		if o.encryption != nil {
			return append([]string{oracle[0]}, o.want...)
		}
		return o.want
	}
	out := slices.DeleteFunc(slices.Clone(oracle), func(l string) bool { return strings.HasPrefix(l, "NegotiateProtocolVersion") })
	for _, w := range o.want {
		kind, _, _ := strings.Cut(w, " ")
		if i := slices.IndexFunc(out, func(l string) bool { return strings.HasPrefix(l, kind) }); i >= 0 {
			out[i] = w
			continue
		}
		out = slices.Insert(out, 0, w)
	}
	return out
}
