package parser

import (
	"encoding/binary"
	"sync/atomic"
)

// patterns is a table in front of a Cache that finds texts which come again without
// reading them: the bytes between literals are compared, and only the literals are
// lexed. It takes no lock.
//
// A text gets a place when it, or its normal form, is looked up for the second time
// while its hash still stands in seen. The place is one of a few that share the head of the
// text; there it stays for as long as it is found now and then.
type patterns struct {
	sets []patternSet
	seen []atomic.Uint64
}

type patternSet struct {
	ways [8]atomic.Pointer[pattern]
	hand atomic.Uint32 // the way that is asked next to make room
}

// pattern is a text cut at its literals. It is immutable, but for used.
type pattern struct {
	text string
	cuts []cut // none where it is for this very text
	st   *Statement
	used atomic.Uint32 // falls when room is wanted, and is restored by a hit
}

// cut is the place of a literal in a pattern's text.
type cut struct {
	start, end int
	kind       token
}

const (
	// headSize is how much of a text tells which set it belongs to.
	headSize = 16
	// maxPattern bounds the length of the texts, and so the table, to 2 MB by default.
	maxPattern = 2 << 10
	// maxPatternFacts bounds what a Statement kept here takes, since the Cache's own bound
	// does not count those it has dropped: 16 MB for all of them by default.
	maxPatternFacts = 16 << 10
	// maxCuts is the number of literals from which it is no better than the normal form.
	maxCuts = 64
	// wellUsed is how often a pattern in use is asked in vain to make room.
	wellUsed = 4
)

// newPatterns makes a table of about n places.
func newPatterns(n int) patterns {
	if n <= 0 {
		return patterns{}
	}
	sets := 1
	for sets*len(patternSet{}.ways) < n {
		sets *= 2
	}
	return patterns{sets: make([]patternSet, sets), seen: make([]atomic.Uint64, n)}
}

// set returns the places for texts that begin like text; nil where it has none.
func (p *patterns) set(text []byte) *patternSet {
	if len(p.sets) == 0 || len(text) > maxPattern {
		return nil
	}
	return &p.sets[headOf(text)&uint64(len(p.sets)-1)]
}

// headOf is a hash of the head.
func headOf(text []byte) uint64 {
	var short [headSize]byte
	head := text
	if len(head) < len(short) {
		copy(short[:], head)
		head = short[:]
	}
	const odd = 0x9e3779b97f4a7c15
	h := binary.LittleEndian.Uint64(head)*odd ^ binary.LittleEndian.Uint64(head[8:])
	h *= odd
	return h >> 40
}

// find returns the Statement of text, or nil.
func (p *patterns) find(text []byte) *Statement {
	set := p.set(text)
	if set == nil {
		return nil
	}
	for i := range set.ways {
		e := set.ways[i].Load()
		if e == nil {
			return nil
		}
		if e.matches(text) {
			if e.used.Load() != wellUsed {
				e.used.Store(wellUsed)
			}
			return e.st
		}
	}
	return nil
}

// keep gives text a place if it comes again, by its own hash or that of its normal form.
func (p *patterns) keep(exact, normal uint64, text []byte, st *Statement) {
	set := p.set(text)
	if set == nil {
		return
	}
	cuts, ok := 0, false
	if st.Shared {
		cuts, ok = cutting(text, nil)
	}
	hash := exact
	if ok {
		hash = normal
	}
	if p.seen[hash%uint64(len(p.seen))].Swap(hash) == hash && footprint(st) <= maxPatternFacts {
		set.keep(text, cuts, st)
	}
}

// keep puts text into an empty place, or one that is not used much.
func (set *patternSet) keep(text []byte, cuts int, st *Statement) {
	for i := range set.ways {
		if set.ways[i].Load() == nil {
			set.ways[i].CompareAndSwap(nil, newPattern(text, cuts, st))
			return
		}
	}
	way := &set.ways[set.hand.Add(1)%uint32(len(set.ways))]
	old := way.Load()
	if used := old.used.Load(); used > 0 {
		old.used.Store(used - 1)
		return
	}
	way.CompareAndSwap(old, newPattern(text, cuts, st))
}

// newPattern copies text, which has so many cuts.
func newPattern(text []byte, cuts int, st *Statement) *pattern {
	e := &pattern{text: string(text), st: st}
	e.used.Store(wellUsed)
	if cuts > 0 {
		e.cuts = make([]cut, cuts)
		cutting(text, e.cuts)
	}
	return e
}

// cutting counts the literals where text is to be cut, and puts them into cuts where that is
// not nil. It is not ok where the text is better looked up otherwise.
func cutting(text []byte, cuts []cut) (n int, ok bool) {
	l, last := lexer{src: text}, 0
	for {
		t, start, end := l.next()
		switch {
		case t == tokenEnd:
			return n, n > 0
		case t != tokenNumber && t != tokenString:
		case start < headSize, n == maxCuts:
			return 0, false
		case start > last && standsAlone[text[start-1]]:
			if cuts != nil {
				cuts[n] = cut{start, end, t}
			}
			n, last = n+1, end
		case t == tokenString: // what follows could be, or not be, its continuation
			return 0, false
		}
	}
}

// standsAlone holds the bytes after which a token begins whatever it is: none of them
// is part of a longer token with the first byte of a literal.
var standsAlone = func() (table [256]bool) {
	for _, c := range " \t\n\r(,=<>+*[;" {
		table[c] = true
	}
	return table
}()

// matches tells whether text has the same normal form as the pattern's, or is the same
// where that is asked for. What stands between literals is the same to the byte, and
// literals are of the same kind (FuzzPattern).
func (e *pattern) matches(text []byte) bool {
	rest, at := e.text, 0
	for i := range e.cuts {
		c := &e.cuts[i]
		same := e.text[at:c.start]
		if len(text) <= len(same) || string(text[:len(same)]) != same {
			return false
		}
		l := lexer{src: text, pos: len(same)}
		if t, _, end := l.next(); t == c.kind && !l.backslash {
			text, at = text[end:], c.end
			continue
		}
		return false
	}
	return string(text) == rest[at:]
}
