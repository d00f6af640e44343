package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// transports are the kinds of connection that a Conn treats differently: a
// plain socket by system calls, everything else by net.Conn.
var transports = map[string]func(testing.TB) (local, remote net.Conn){
	"tcp":  tcpPair,
	"unix": unixPair,
	"pipe": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
	"tls":  tlsPair,
}

func tcpPair(tb testing.TB) (local, remote net.Conn) {
	tb.Helper()
	return dialed(tb, "tcp", "127.0.0.1:0")
}

func unixPair(tb testing.TB) (local, remote net.Conn) {
	tb.Helper()
	return dialed(tb, "unix", tb.TempDir()+"/s")
}

func dialed(tb testing.TB, network, address string) (local, remote net.Conn) {
	tb.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	if remote, err = net.Dial(network, l.Addr().String()); err != nil {
		tb.Fatal(err)
	}
	if local, err = l.Accept(); err != nil {
		tb.Fatal(err)
	}
	return local, remote
}

func tlsPair(tb testing.TB) (local, remote net.Conn) {
	tb.Helper()
	a, b := tcpPair(tb)
	server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{certificate()}})
	client := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }()
	if err := errors.Join(server.Handshake(), <-shaken); err != nil {
		tb.Fatal(err)
	}
	return server, client
}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

// testTypes are gathered whole by the readers of these tests.
const testTypes = "QEZ"

const testLimit = 8 << 20

// message is a type and a body, as sent or as put together again.
type message struct {
	Type byte
	Body string
}

func encode(m message) []byte {
	out := binary.BigEndian.AppendUint32([]byte{m.Type}, uint32(len(m.Body)+4))
	return append(out, m.Body...)
}

// readAll puts the messages of a stream together again and checks what a Reader
// promises on the way. The stream is right up to its end.
func readAll(r *Reader, whole *Types) (messages []message, err error) {
	var typ byte
	var body bytes.Buffer
	for {
		from := r.Pos()
		var m Message
		ok, err := r.Next(&m)
		switch {
		case err != nil:
			return messages, err
		case !ok:
			if r.Pos() != from {
				return messages, errors.New("Next moved without returning a message")
			}
			if err := r.Fill(); err != nil {
				return messages, err
			}
			continue
		case !bytes.Equal(r.Span(from, r.Pos()), m.Data):
			return messages, errors.New("the span of a message is not its data")
		case r.MidMessage() != (m.Rest > 0):
			return messages, errors.New("MidMessage does not tell what Rest tells")
		case cap(m.Data) != len(m.Data) && m.Rest == 0:
			return messages, errors.New("an append to a message would write into the next one")
		}
		if m.Type == 'd' && m.Whole() {
			copied, err := extended(r, m)
			if err != nil {
				return messages, err
			}
			messages = append(messages, copied...)
			continue
		}
		data := m.Data
		if m.First {
			size := len(m.Data) + m.Rest
			if m.Rest > 0 && (size <= smallBuffer || whole[m.Type] && size <= MaxWhole) {
				return messages, errors.New("a message that must be seen whole came in pieces")
			}
			if m.Rest > 0 && len(m.Data) < smallBuffer/2 {
				return messages, errors.New("the first piece is too short for names to be seen")
			}
			typ, data = m.Type, m.Body()
			body.Reset()
		} else if typ != m.Type {
			return messages, errors.New("a piece of another message than the first")
		}
		body.Write(data)
		if m.Rest == 0 {
			messages = append(messages, message{typ, body.String()})
		}
	}
}

// scatter writes stream in fragments of the sizes given, over and over.
func scatter(nc net.Conn, stream []byte, sizes []int) {
	for i := 0; len(stream) > 0; i++ {
		n := min(max(sizes[i%len(sizes)], 1), len(stream))
		if _, err := nc.Write(stream[:n]); err != nil {
			break
		}
		stream = stream[n:]
	}
	_ = nc.Close()
}

// Sizes around which the Reader changes what it does.
var edges = []int{
	0, 1, 4, smallBuffer/2 - 6, smallBuffer / 2, smallBuffer - 6, smallBuffer - 5, smallBuffer - 4,
	smallBuffer, MaxWhole - 6, MaxWhole - 5, MaxWhole - 4, MaxWhole, 3*MaxWhole + 7,
}

func TestReaderGivesTheSameMessagesForAnySplit(t *testing.T) {
	for name, pair := range transports {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				body := rapid.OneOf(rapid.IntRange(0, 64), rapid.IntRange(0, 2*smallBuffer), rapid.SampledFrom(edges))
				sent := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) message {
					typ := rapid.SampledFrom([]byte("QEZDdBT")).Draw(rt, "type")
					n := body.Draw(rt, "size")
					return message{typ, string(bytes.Repeat([]byte{byte(n)}, n))}
				}), 0, 30).Draw(rt, "messages")
				sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 9), rapid.IntRange(1, 3*smallBuffer)), 1, 10).Draw(rt, "fragments")
				var stream []byte
				for _, m := range sent {
					stream = append(stream, encode(m)...)
				}
				for i := range sizes { // writes of a few bytes each would take minutes
					sizes[i] = max(sizes[i], len(stream)/300)
				}
				local, remote := pair(t)
				defer local.Close()
				go scatter(remote, stream, sizes)
				r := NewReader(NewConn(local), TypesOf(testTypes), testLimit)
				defer r.Release()
				got, err := readAll(r, TypesOf(testTypes))
				if !errors.Is(err, io.EOF) {
					rt.Fatalf("the stream ended with %v", err)
				}
				if len(sent) == 0 {
					sent = nil
				}
				if diff := cmp.Diff(sent, got); diff != "" {
					rt.Fatalf("other messages came out (-sent +got):\n%.2000s", diff)
				}
			})
		})
	}
}

// reference is the framing without buffers: the messages that stand whole at the
// head of stream, and the rest.
func reference(stream []byte, limit int) (messages []message, broken bool) {
	for len(stream) >= headerSize {
		length := int64(binary.BigEndian.Uint32(stream[1:]))
		if length < 4 || length+1 > int64(limit) {
			return messages, true
		}
		if length+1 > int64(len(stream)) {
			break
		}
		messages = append(messages, message{stream[0], string(stream[headerSize : length+1])})
		stream = stream[length+1:]
	}
	return messages, false
}

// FuzzReader feeds a Reader with bytes as they come, cut in pieces.
func FuzzReader(f *testing.F) {
	f.Add([]byte("Q\x00\x00\x00\x08abc\x00X\x00\x00\x00\x04"), uint16(3), false)
	f.Add([]byte("Q\x00\x00\x00\x03"), uint16(1), true)
	f.Add([]byte("D\x00\x01\x00\x00abc"), uint16(2), false)
	f.Add([]byte("d\xff\xff\xff\xff"), uint16(5), true)
	f.Add(bytes.Repeat(encode(message{'D', "row"}), 4000), uint16(1000), true)
	f.Add(encode(message{'d', string(make([]byte, 50000))}), uint16(7000), false)
	const limit = 1 << 20
	whole := TypesOf(testTypes)
	f.Fuzz(func(t *testing.T, stream []byte, cut uint16, plain bool) {
		local, remote := net.Pipe()
		if plain {
			local, remote = tcpPair(t)
		}
		defer local.Close()
		go scatter(remote, stream, []int{max(int(cut), len(stream)/500), 1, 4})
		r := NewReader(NewConn(local), whole, limit)
		defer r.Release()
		got, err := readAll(r, whole)
		want, broken := reference(stream, limit)
		if broken != errors.Is(err, ErrFraming) || !broken && !errors.Is(err, io.EOF) {
			t.Fatalf("broken %v, but the stream ended with %v", broken, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("other messages came out (-want +got):\n%.2000s", diff)
		}
	})
}

// FuzzStartup feeds NextStartup with the head of a connection.
func FuzzStartup(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f"), uint8(1))
	f.Add([]byte("\x00\x00\x00\x14\x00\x03\x00\x00user\x00me\x00\x00\x00\x00"), uint8(3))
	f.Add([]byte("\x00\x00\x00\x07abc"), uint8(9))
	f.Add([]byte("\x16\x03\x01\x02\x00"), uint8(2))
	f.Add(append([]byte("\x00\x00\x27\x10"), make([]byte, 20000)...), uint8(200))
	f.Fuzz(func(t *testing.T, stream []byte, cut uint8) {
		local, remote := tcpPair(t)
		defer local.Close()
		go scatter(remote, stream, []int{max(int(cut), len(stream)/200)})
		r := NewReader(NewConn(local), TypesOf(testTypes), testLimit)
		defer r.Release()
		rest := stream
		for {
			body, ok, err := r.NextStartup()
			if !ok && err == nil {
				if err := r.Fill(); err != nil {
					if len(rest) >= 8 && int(binary.BigEndian.Uint32(rest)) <= len(rest) {
						t.Fatalf("a packet is there and was not returned: %v", err)
					}
					return
				}
				continue
			}
			length := int(binary.BigEndian.Uint32(rest))
			if bad := length < 8 || length > MaxStartup; bad != errors.Is(err, ErrFraming) {
				t.Fatalf("length %d, error %v", length, err)
			}
			if err != nil {
				return
			}
			if !bytes.Equal(body, rest[4:length]) {
				t.Fatalf("body %q of %q", body, rest)
			}
			rest = rest[length:]
		}
	})
}

func TestReaderRefusesImpossibleLengths(t *testing.T) {
	for _, length := range []uint32{0, 3, 1 << 31, 1<<32 - 1, testLimit} {
		local, remote := tcpPair(t)
		_, _ = remote.Write(binary.BigEndian.AppendUint32([]byte{'d'}, length))
		r := NewReader(NewConn(local), TypesOf(""), testLimit)
		if _, err := readAll(r, TypesOf("")); !errors.Is(err, ErrFraming) {
			t.Errorf("length %d: %v", length, err)
		}
		_, _ = local.Close(), remote.Close()
	}
}

func TestParkedReaderOwnsNoBuffer(t *testing.T) {
	for name, pair := range transports {
		for _, size := range []int{1, smallBuffer, MaxWhole - headerSize} {
			t.Run(name+" after "+strconv.Itoa(size)+" bytes", func(t *testing.T) {
				local, remote := pair(t)
				defer local.Close()
				defer remote.Close()
				r := NewReader(NewConn(local), TypesOf(testTypes), testLimit)
				defer r.Release()
				go func() { _, _ = remote.Write(encode(message{'Q', string(make([]byte, size))})) }()
				m := nextWhole(t, r)
				if len(m.Body()) != size {
					t.Fatalf("a body of %d bytes", len(m.Body()))
				}
				// The deadline only has to be later than the first attempt to read; where it
				// was not, it is put off.
				for wait := 10 * time.Millisecond; wait < 10*time.Second; wait *= 4 {
					if err := local.SetReadDeadline(time.Now().Add(wait)); err != nil {
						t.Fatal(err)
					}
					if err := r.Fill(); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Fatal(err)
					}
					if r.buf == nil {
						return
					}
				}
				t.Errorf("a parked reader holds a buffer of %d bytes", len(r.buf))
			})
		}
	}
}

// nextWhole returns the next message, which is one to be seen whole.
func nextWhole(tb testing.TB, r *Reader) Message {
	tb.Helper()
	for {
		var m Message
		ok, err := r.Next(&m)
		if err != nil {
			tb.Fatal(err)
		}
		if ok {
			if !m.Whole() {
				tb.Fatalf("a piece of message %q, %d bytes to come", m.Type, m.Rest)
			}
			return m
		}
		if err := r.Fill(); err != nil {
			tb.Fatal(err)
		}
	}
}

// plentiful is a connection on which everything has arrived already: how much a
// socket gives at a time depends on the machine.
type plentiful struct {
	net.Conn
	arrived bytes.Buffer
}

func (p *plentiful) Read(b []byte) (int, error) { return p.arrived.Read(b) }

func TestReaderShrinksAfterBulk(t *testing.T) {
	conn := new(plentiful)
	r := NewReader(NewConn(conn), TypesOf(testTypes), testLimit)
	defer r.Release()
	conn.arrived.Write(encode(message{'d', string(make([]byte, 4<<20))}))
	grown := false
	for r.Pos() == 0 || conn.arrived.Len() > 0 || r.MidMessage() {
		ok, err := r.Next(new(Message))
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			if err := r.Fill(); err != nil {
				t.Fatal(err)
			}
			grown = grown || len(r.buf) == largeBuffer
		}
	}
	if !grown {
		t.Error("4 MB came through the small buffer")
	}
	for range 2 { // the first Fill may still belong to the bulk
		conn.arrived.Write(encode(message{'Z', "I"}))
		nextWhole(t, r)
	}
	if len(r.buf) != smallBuffer {
		t.Errorf("a small message sits in a buffer of %d bytes", len(r.buf))
	}
}
