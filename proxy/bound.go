package proxy

import (
	"encoding/binary"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/wire"
	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/router"
)

// parametric tells whether st sets parameters to values that only Bind gives.
func parametric(st *parser.Statement) bool {
	if st.Plain {
		return false
	}
	for i := range st.Parts {
		if set := st.Parts[i].Setting; set != nil {
			if set.Params != [3]int{} {
				return true
			}
			for j := range set.Also {
				if set.Also[j].Params != [3]int{} {
					return true
				}
			}
		}
	}
	return false
}

// sending notes what a portal that is about to be executed sets by its parameters.
func (s *session) sending(p *portal) {
	switch {
	case p.bound != nil:
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range p.bound {
			s.state.pins.searching(&p.bound[i])
		}
	case parametric(p.facts):
		s.pin(parser.PinSetting)
	}
}

// boundSettings is what a statement sets with the parameters of a Bind message; nil
// where that cannot be told. Text in binary form is the same bytes.
func boundSettings(known statement, m *wire.Message) []parser.Setting {
	var b pgproto3.Bind
	if !m.Whole() || known.prepared == nil || b.Decode(m.Body()) != nil || len(known.facts.Parts) != 1 {
		return nil
	}
	set := known.facts.Parts[0].Setting
	all := append([]parser.Setting{*set}, set.Also...)
	all[0].Also = nil
	types := parameterTypes(known.prepared.Body)
	for i := range all {
		if all[i].Params == [3]int{} {
			if all[i].Unknown {
				return nil
			}
			continue
		}
		for j, n := range all[i].Params {
			if n > len(b.Parameters) || n > 0 && n <= len(types) && !readable(types[n-1], j == 2) {
				return nil
			}
		}
		all[i] = all[i].Bound(func(n int) (string, bool) {
			value := b.Parameters[n-1]
			return string(value), value == nil
		})
	}
	return all
}

// readable tells whether a parameter of a type, which the client has given in Parse,
// has the bytes of its text: none given, text, varchar, unknown; or is a boolean.
func readable(oid uint32, boolean bool) bool {
	const boolOID, textOID, unknownOID, varcharOID = 16, 25, 705, 1043
	return oid == 0 || oid == unknownOID || boolean && oid == boolOID || !boolean && (oid == textOID || oid == varcharOID)
}

// parameterTypes reads the types from what follows the name in a Parse message.
func parameterTypes(body string) []uint32 {
	_, rest, ok := strings.Cut(body, "\x00")
	if !ok || len(rest) < 2 {
		return nil
	}
	var types []uint32
	for rest = rest[2:]; len(rest) >= 4; rest = rest[4:] {
		types = append(types, binary.BigEndian.Uint32([]byte(rest[:4])))
	}
	return types
}

// parametersOf returns what gives the router the parameters of a Bind message that it
// asks for. Text in binary form is the same bytes; a number is none.
func parametersOf(prepared *pool.Prepared, bind *wire.Message) func(n int) router.Parameter {
	var b pgproto3.Bind
	if !bind.Whole() || b.Decode(bind.Body()) != nil {
		return func(int) router.Parameter { return router.Parameter{} }
	}
	var types []uint32
	if prepared != nil {
		types = parameterTypes(prepared.Body)
	}
	return func(n int) router.Parameter {
		if n > len(b.Parameters) || b.Parameters[n-1] == nil {
			return router.Parameter{}
		}
		value, oid := b.Parameters[n-1], uint32(0)
		if n <= len(types) {
			oid = types[n-1]
		}
		if binaryFormat(&b, n) && (!readable(oid, false) || len(value) == 4 && !printable(value)) {
			return router.Parameter{OID: len(value) == 4}
		}
		return router.Parameter{Text: string(value), Known: true}
	}
}

// binaryFormat tells whether parameter n of a Bind message is in binary format.
func binaryFormat(b *pgproto3.Bind, n int) bool {
	switch codes := b.ParameterFormatCodes; {
	case len(codes) == 0:
		return false
	case len(codes) == 1:
		return codes[0] == 1
	default:
		return n <= len(codes) && codes[n-1] == 1
	}
}

// printable tells whether bytes can be a name, which the four bytes of an oid are only
// for numbers that no server reaches before a billion objects have been made.
func printable(value []byte) bool {
	for _, c := range value {
		if c < ' ' {
			return false
		}
	}
	return true
}
