package proxy

import (
	"bytes"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
)

// cut splits the body of a message after its first string.
func cut(m *wire.Message) (name, rest []byte, ok bool) { return cutString(m.Body()) }

// cutString splits b after its first string, which is most often the empty name.
func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) > 0 && b[0] == 0 {
		return nil, b[1:], true
	}
	return cutNamed(b)
}

// cutNamed is cutString where the string is not empty.
func cutNamed(b []byte) (s, rest []byte, ok bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+1:], true
}

// object reads the body of Describe and Close: S or P, and a name.
func object(m *wire.Message) (kind byte, name []byte, ok bool) {
	body := m.Body()
	if len(body) == 2 && body[1] == 0 && (body[0] == 'P' || body[0] == 'S') {
		return body[0], nil, true // as mostly
	}
	if len(body) < 2 || body[0] != 'S' && body[0] != 'P' || bytes.IndexByte(body, 0) != len(body)-1 {
		return 0, nil, false
	}
	return body[0], body[1 : len(body)-1], true
}

func nameMessage(typ byte, name string) []byte {
	out := append(make([]byte, 0, 7+len(name)), typ, 0, 0, 0, 0, 'S')
	out = append(out, name...)
	out = append(out, 0)
	putLength(out)
	return out
}

// parseMessage builds a Parse message from a name and a Prepared's body.
func parseMessage(name, body string) []byte {
	out := make([]byte, 0, 6+len(name)+len(body))
	out = append(out, 'P', 0, 0, 0, 0)
	out = append(out, name...)
	out = append(out, 0)
	out = append(out, body...)
	putLength(out)
	return out
}

// putLength writes the length of the message in p, which has one type byte.
func putLength(p []byte) {
	n := uint32(len(p) - 1)
	p[1], p[2], p[3], p[4] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
}

func closeStatement(name string) *pgproto3.Close {
	return &pgproto3.Close{ObjectType: 'S', Name: name}
}

// tagOf is the tag of a CommandComplete message.
func tagOf(m *wire.Message) string {
	if !m.Whole() || m.Type != 'C' {
		return ""
	}
	return strings.TrimSuffix(string(m.Body()), "\x00")
}

func isFatal(body []byte) bool {
	sev := errorField(body, 'V')
	if sev == "" {
		sev = errorField(body, 'S')
	}
	return sev == "FATAL" || sev == "PANIC"
}

// errorField returns one field of an ErrorResponse or NoticeResponse.
func errorField(body []byte, field byte) string {
	for len(body) > 1 {
		end := 1
		for end < len(body) && body[end] != 0 {
			end++
		}
		if body[0] == field {
			return string(body[1:end])
		}
		if end == len(body) {
			break
		}
		body = body[end+1:]
	}
	return ""
}

func errorText(m *wire.Message) string {
	if !m.Whole() {
		return ""
	}
	return errorField(m.Body(), 'C') + " " + errorField(m.Body(), 'M')
}

func appendError(dst []byte, e *pgerr.Error) []byte {
	out, err := (&pgproto3.ErrorResponse{
		Severity: e.Severity, SeverityUnlocalized: e.Severity, Code: e.Code, Message: e.Message,
		Detail: e.Detail, Hint: e.Hint, Routine: e.Routine,
	}).Encode(dst)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return out
}

// refusalIn is an error of a server in the form in which the client gets it for
// a statement of its own.
func refusalIn(m *wire.Message) *pgerr.Error {
	if !m.Whole() {
		return nil
	}
	return &pgerr.Error{
		Severity: "ERROR", Code: errorField(m.Body(), 'C'), Message: errorField(m.Body(), 'M'),
		Detail: errorField(m.Body(), 'D'), Hint: errorField(m.Body(), 'H'), Routine: "replay",
	}
}
