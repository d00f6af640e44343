package fleet

import (
	"crypto/sha256"

	"pgshunt/parser"
)

// bodies remembers what texts of views and functions have been parsed to, from one
// comparison to the next. The zero value is empty.
type bodies struct {
	before, now map[[sha256.Size]byte]*parser.Part
}

// part parses a text of one statement; it is nil if that cannot be read.
func (b *bodies) part(text string) *parser.Part {
	key := sha256.Sum256([]byte(text))
	part, known := b.now[key]
	if !known {
		if part, known = b.before[key]; !known {
			if st := parser.Parse(text); len(st.Parts) == 1 {
				part = &st.Parts[0]
			}
		}
		if b.now == nil {
			b.now = make(map[[sha256.Size]byte]*parser.Part)
		}
		b.now[key] = part
	}
	return part
}

// turn forgets what has not been asked for since the last turn.
func (b *bodies) turn() { b.before, b.now = b.now, nil }
