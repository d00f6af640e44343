package proxy

import (
	"encoding/binary"
	"slices"
	"strings"

	"pgshunt/parser"
)

// misread tells whether the parser, which takes texts to be UTF-8 with
// standard_conforming_strings on, sees other strings in one than the server will.
func (s *session) misread(st *parser.Statement, text []byte) bool {
	high := !isASCII(text)
	if !st.Backslashes && !high {
		return false
	}
	s.awaitStrings()
	s.mu.Lock()
	defer s.mu.Unlock()
	return st.Backslashes && !s.state.conforming() || high && s.state.asciiInside()
}

// awaitStrings waits for the answer where a setting by which strings are read is on its
// way to the server; an error of that is met again by whoever sends next.
func (s *session) awaitStrings() {
	s.mu.Lock()
	unsure := s.maySet("standard_conforming_strings", "client_encoding")
	s.mu.Unlock()
	if unsure {
		_ = s.settle()
	}
}

// isASCII looks at eight bytes at a time, and at the last eight whether it has seen some
// of them or not: every text passes here.
func isASCII(text []byte) bool {
	var all uint64
	if n := len(text); n >= 8 {
		all = binary.LittleEndian.Uint64(text[n-8:])
		for i := 0; i < n-8; i += 8 {
			all |= binary.LittleEndian.Uint64(text[i:])
		}
		return all&0x8080808080808080 == 0
	}
	for _, c := range text {
		all |= uint64(c)
	}
	return all&0x8080808080808080 == 0
}

// maySet tells whether a reply is outstanding that may change one of these
// parameters. The caller holds mu.
func (s *session) maySet(names ...string) (found bool) {
	within := s.state.local != s.state.before // of a transaction, whose end changes them back
	concerns := func(set *parser.Setting) bool {
		return set.Name == "" || set.Unknown || slices.Contains(names, set.Name)
	}
	s.inflight.each(func(r *reply) {
		for i := range r.bound() {
			found = found || concerns(&r.bound()[i])
		}
		if r.statement == nil {
			return
		}
		for i := range r.statement.Parts {
			p := &r.statement.Parts[i]
			switch p.Kind {
			case parser.Rollback, parser.RollbackTo, parser.Commit, parser.PrepareTransaction:
				found = found || within
			case parser.Discard:
				found = true
			}
			if p.Setting == nil {
				continue
			}
			found = found || concerns(p.Setting)
			for j := range p.Setting.Also {
				found = found || concerns(&p.Setting.Also[j])
			}
		}
	})
	return found
}

// routesMayChange tells whether a parameter that decisions or their announcement depend on is
// on its way.
func (s *session) routesMayChange() bool {
	if s.steady {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.maySet("search_path", "role", "session_authorization", "application_name", routeParameter, explainParameter)
}

// conforming tells whether standard_conforming_strings is on.
func (t *state) conforming() bool {
	on, ok := parseBool(t.inForce("standard_conforming_strings"))
	return on || !ok
}

// asciiInside tells whether the client's encoding has characters with bytes in
// them that stand alone for ASCII ones, such as quotes and backslashes.
func (t *state) asciiInside() bool {
	return slices.Contains(encodingsWithASCIIInside, t.encoding())
}

// halfwidth tells whether some of its characters are one byte of 0x80 or more.
func (t *state) halfwidth() bool {
	return slices.Contains(encodingsOfSJIS, t.encoding())
}

// encoding is the client's, as all its names are compared.
func (t *state) encoding() string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune("-_ ", c) {
			return -1
		}
		return c
	}, strings.ToLower(t.inForce("client_encoding")))
}

// encodingsWithASCIIInside are the encodings that PostgreSQL takes of clients and
// does not use itself, by all their names (mb/pg_wchar.h, common/encnames.c).
var encodingsWithASCIIInside = append([]string{
	"big5", "win950", "windows950",
	"gbk", "win936", "windows936", "uhc", "win949", "windows949", "gb18030", "johab",
}, encodingsOfSJIS...)

var encodingsOfSJIS = []string{"sjis", "mskanji", "shiftjis", "shiftjis2004", "win932", "windows932"}

// inForce is the value of a parameter that servers report: the session's own, else
// that of a login.
func (t *state) inForce(name string) string {
	if set, ok := t.local.Get(name); ok && set.Value != "" {
		return set.Value
	}
	set, _ := t.native.Get(name)
	return set.Value
}
