package proxy_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// line is one backend message in a form for people. extra is what is compared
// between PostgreSQL and pgshunt but not recorded, since it varies with the
// version of the server.
type line struct{ text, extra string }

// peer is a connection that speaks the protocol message by message.
type peer struct {
	conn   net.Conn
	server *pgproto3.Frontend
	closed bool
}

// answerTimeout bounds the wait for one message.
const answerTimeout = 3 * time.Second

func dialPeer(t *testing.T, addr string) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &peer{conn: conn, server: pgproto3.NewFrontend(conn, conn)}
}

// unread gives b back to be read again. Only before the first call of read.
func (p *peer) unread(b []byte) {
	p.server = pgproto3.NewFrontend(io.MultiReader(bytes.NewReader(b), p.conn), p.conn)
}

// login brings a peer past the startup and returns what the server said.
func (p *peer) login(t *testing.T, user, database string) []line {
	t.Helper()
	start, err := (&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersionNumber,
		Parameters:      map[string]string{"user": user, "database": database},
	}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	p.write(start, false)
	said := p.read(1, "ReadyForQuery")
	if p.closed {
		t.Fatalf("login: %v", said)
	}
	return said
}

// write sends b, byte by byte if so asked. A server that has hung up is found out by read.
func (p *peer) write(b []byte, bytewise bool) {
	if !bytewise {
		_, _ = p.conn.Write(b)
		return
	}
	for i := range b {
		if _, err := p.conn.Write(b[i : i+1]); err != nil {
			return
		}
	}
}

// read returns messages up to the nth of the kind named, or to the end of the
// connection, which is the line "closed".
func (p *peer) read(n int, until string) []line {
	var said []line
	for !p.closed {
		if err := p.conn.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
			return append(said, line{text: err.Error()})
		}
		m, err := p.server.Receive()
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			p.closed = true
			return append(said, line{text: "no answer within " + answerTimeout.String()})
		}
		if err != nil {
			p.closed = true
			return append(said, line{text: "closed"})
		}
		if warmsUp(m) {
			continue
		}
		said = append(said, render(m))
		if kind, _, _ := strings.Cut(said[len(said)-1].text, " "); kind == until {
			if n--; n == 0 {
				break
			}
		}
	}
	return said
}

// warmsUp recognises the notice with which a server process loads a model for the
// first time. Whether the process that a client meets is warm is not part of an answer.
func warmsUp(m pgproto3.BackendMessage) bool {
	n, ok := m.(*pgproto3.NoticeResponse)
	return ok && strings.HasPrefix(n.Message, "Model cache miss")
}

// rest says goodbye and returns what was still on its way.
func (p *peer) rest() []line {
	if p.closed {
		return nil
	}
	p.write([]byte{'X', 0, 0, 0, 4}, false)
	said := p.read(1, "closed")
	return said[:len(said)-1]
}

func render(m pgproto3.BackendMessage) line {
	kind := strings.TrimPrefix(fmt.Sprintf("%T", m), "*pgproto3.")
	l := line{text: kind}
	add := func(format string, args ...any) { l.text += " " + fmt.Sprintf(format, args...) }
	switch m := m.(type) {
	case *pgproto3.RowDescription:
		for i := range m.Fields {
			f := &m.Fields[i]
			add("%q %s", f.Name, typeName(f.DataTypeOID))
			if f.TypeModifier != -1 {
				l.text += fmt.Sprintf("(%d)", f.TypeModifier)
			}
			if f.TableOID != 0 {
				l.text += fmt.Sprintf(" column %d of a table", f.TableAttributeNumber)
			}
			if f.Format != 0 {
				l.text += " binary"
			}
			if i < len(m.Fields)-1 {
				l.text += ","
			}
			l.extra += fmt.Sprintf(" %d", f.DataTypeSize)
		}
	case *pgproto3.DataRow:
		for _, v := range m.Values {
			add("%s", value(v))
		}
	case *pgproto3.ParameterDescription:
		for _, oid := range m.ParameterOIDs {
			add("%s", typeName(oid))
		}
	case *pgproto3.CommandComplete:
		add("%q", m.CommandTag)
	case *pgproto3.ReadyForQuery:
		add("%c", m.TxStatus)
	case *pgproto3.ErrorResponse:
		renderError(&l, m)
	case *pgproto3.NoticeResponse:
		renderError(&l, (*pgproto3.ErrorResponse)(m))
	case *pgproto3.ParameterStatus:
		add("%s %q", m.Name, m.Value)
	case *pgproto3.CopyInResponse:
		add("format %d columns %v", m.OverallFormat, m.ColumnFormatCodes)
	case *pgproto3.CopyOutResponse:
		add("format %d columns %v", m.OverallFormat, m.ColumnFormatCodes)
	case *pgproto3.CopyData:
		add("%q", m.Data)
	case *pgproto3.FunctionCallResponse:
		add("%s", value(m.Result))
	case *pgproto3.NotificationResponse:
		add("%s %q", m.Channel, m.Payload)
	case *pgproto3.NegotiateProtocolVersion:
		add("%d.%d %q", m.NewestMinorProtocol>>16, m.NewestMinorProtocol&0xffff, m.UnrecognizedOptions)
	case *pgproto3.BackendKeyData:
		add("secret of %d bytes", len(m.SecretKey))
	}
	return l
}

func value(v []byte) string {
	if v == nil {
		return "NULL"
	}
	return strconv.Quote(string(v))
}

func renderError(l *line, m *pgproto3.ErrorResponse) {
	l.text += fmt.Sprintf(" %s %s %q", m.Severity, m.Code, m.Message)
	for _, field := range []struct{ name, value string }{
		{"detail", m.Detail},
		{"hint", m.Hint},
		{"where", m.Where},
		{"query", m.InternalQuery},
		{"schema", m.SchemaName},
		{"table", m.TableName},
		{"column", m.ColumnName},
		{"type", m.DataTypeName},
		{"constraint", m.ConstraintName},
	} {
		if field.value != "" {
			l.text += fmt.Sprintf(" %s %q", field.name, field.value)
		}
	}
	if m.Position != 0 {
		l.text += fmt.Sprintf(" at %d", m.Position)
	}
	if m.InternalPosition != 0 {
		l.text += fmt.Sprintf(" internally at %d", m.InternalPosition)
	}
	if m.File == "" { // not PostgreSQL's own
		l.text += " from " + m.Routine
	}
	l.extra = fmt.Sprintf(" %s:%d %s %s %q", m.File, m.Line, m.Routine, m.SeverityUnlocalized, m.UnknownFields)
}

// typeName names the types that transcripts use. The OIDs of types that are not
// built in differ between servers.
func typeName(oid uint32) string {
	if name, ok := typeNames[oid]; ok {
		return name
	}
	if oid >= 16384 {
		return "a type of the database"
	}
	return strconv.Itoa(int(oid))
}

var typeNames = map[uint32]string{
	16: "bool", 17: "bytea", 20: "int8", 21: "int2", 23: "int4", 25: "text", 26: "oid", 700: "float4", 701: "float8",
	1007: "_int4", 1009: "_text", 1021: "_float4", 1022: "_float8", 1043: "varchar", 1184: "timestamptz", 1700: "numeric", 2278: "void", 3802: "jsonb",
}

// encodeMessage reads one frontend message as transcripts have them.
func encodeMessage(text string) ([]byte, error) {
	s := scanner{rest: text}
	kind := s.word()
	var m pgproto3.FrontendMessage
	switch kind {
	case "Query":
		m = &pgproto3.Query{String: s.quoted()}
	case "Parse":
		m = &pgproto3.Parse{Name: s.quoted(), Query: s.quoted(), ParameterOIDs: s.types()}
	case "Bind":
		b := &pgproto3.Bind{DestinationPortal: s.quoted(), PreparedStatement: s.quoted(), Parameters: s.values()}
		for _, code := range []struct {
			word string
			to   *[]int16
		}{{"in", &b.ParameterFormatCodes}, {"out", &b.ResultFormatCodes}} {
			if s.accept(code.word) {
				*code.to = s.codes()
			}
		}
		m = b
	case "Describe":
		m = &pgproto3.Describe{ObjectType: s.word()[0], Name: s.quoted()}
	case "Close":
		m = &pgproto3.Close{ObjectType: s.word()[0], Name: s.quoted()}
	case "Execute":
		m = &pgproto3.Execute{Portal: s.quoted(), MaxRows: uint32(s.number())}
	case "Sync":
		m = &pgproto3.Sync{}
	case "Flush":
		m = &pgproto3.Flush{}
	case "Terminate":
		m = &pgproto3.Terminate{}
	case "CopyData":
		m = &pgproto3.CopyData{Data: []byte(s.quoted())}
	case "CopyDone":
		m = &pgproto3.CopyDone{}
	case "CopyFail":
		m = &pgproto3.CopyFail{Message: s.quoted()}
	case "FunctionCall":
		m = &pgproto3.FunctionCall{Function: uint32(s.number()), Arguments: s.values()}
	case "raw":
		return hex.DecodeString(strings.ReplaceAll(s.rest, " ", ""))
	default:
		return nil, fmt.Errorf("no message is called %q", kind)
	}
	if s.rest = strings.TrimSpace(s.rest); s.err == nil && s.rest != "" {
		s.err = fmt.Errorf("%s: cannot read %q", kind, s.rest)
	}
	if s.err != nil {
		return nil, s.err
	}
	return m.Encode(nil)
}

// scanner reads the arguments of a message.
type scanner struct {
	rest string
	err  error
}

func (s *scanner) word() string {
	s.rest = strings.TrimLeft(s.rest, " ")
	end := strings.IndexAny(s.rest+" ", " ]")
	word := s.rest[:end]
	s.rest = s.rest[end:]
	if word == "" {
		s.fail("a word")
		return "?"
	}
	return word
}

func (s *scanner) fail(wanted string) {
	if s.err == nil {
		s.err = fmt.Errorf("expected %s at %q", wanted, s.rest)
	}
}

func (s *scanner) accept(token string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(s.rest, " "), token)
	if ok {
		s.rest = rest
	}
	return ok
}

func (s *scanner) quoted() string {
	s.rest = strings.TrimLeft(s.rest, " ")
	q, err := strconv.QuotedPrefix(s.rest)
	if err != nil {
		s.fail("a string")
		return ""
	}
	s.rest = s.rest[len(q):]
	text, _ := strconv.Unquote(q) // QuotedPrefix has checked it
	return text
}

func (s *scanner) number() int {
	n, err := strconv.Atoi(s.word())
	if err != nil {
		s.fail("a number")
	}
	return n
}

// list reads "[a b c]", which may be missing at the end of a message.
func (s *scanner) list(item func()) {
	if !s.accept("[") {
		return
	}
	for !s.accept("]") && s.err == nil {
		item()
	}
}

func (s *scanner) types() (oids []uint32) {
	names := maps.Collect(func(yield func(string, uint32) bool) {
		for oid, name := range typeNames {
			if !yield(name, oid) {
				return
			}
		}
	})
	s.list(func() {
		name := s.word()
		oid, ok := names[name]
		if !ok && name != "unspecified" {
			s.fail("one of the types " + strings.Join(slices.Sorted(maps.Keys(names)), ", "))
		}
		oids = append(oids, oid)
	})
	return oids
}

func (s *scanner) values() (values [][]byte) {
	s.list(func() {
		if s.accept("NULL") {
			values = append(values, nil)
			return
		}
		values = append(values, []byte(s.quoted()))
	})
	return values
}

func (s *scanner) codes() (codes []int16) {
	s.list(func() { codes = append(codes, int16(s.number())) })
	return codes
}
