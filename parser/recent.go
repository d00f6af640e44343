package parser

// recents is a small table in front of a Cache, by the hash of the whole text. It
// spares texts that come again to the letter the reading of their literals, and
// those that do not the cost of being kept: a text gets a place when it is seen for
// the second time while its hash still stands there.
type recents []recent

type recent struct {
	hash uint64
	text string     // "" until the second time
	st   *Statement // nil until then
}

// maxRecent bounds the texts, and so the table, to 2 MB by default.
const maxRecent = 2 << 10

// find returns the Statement of text, or nil, and then whether it should be kept.
func (r recents) find(hash uint64, text []byte) (st *Statement, again bool) {
	if len(r) == 0 {
		return nil, false
	}
	e := &r[hash%uint64(len(r))]
	switch {
	case e.hash != hash:
		*e = recent{hash: hash}
		return nil, false
	case e.st == nil:
		return nil, len(text) <= maxRecent
	case e.text != string(text): // another text with the same hash
		return nil, false
	}
	return e.st, false
}

// keep puts st in the place that find has left for it.
func (r recents) keep(hash uint64, text []byte, st *Statement) {
	if e := &r[hash%uint64(len(r))]; e.hash == hash {
		e.text, e.st = string(text), st
	}
}
