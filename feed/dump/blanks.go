package dump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"pgshunt/feed"
)

// A value of char(n) ends in blanks up to n characters, which the server that receives it
// adds by itself: counting the characters of a long one costs it more than making the
// blanks. So they are taken off on the way. The type bpchar, a domain and an array are left
// as they are: what they end in is part of the value, or not at hand. The byte of a blank is
// part of no other character, in no encoding that a connection may have.

const (
	// fewestBlanks is the least n that is worth a look at the values.
	fewestBlanks = 16
	// longestBlank is up to how many bytes a value waits for its end; a longer one passes as
	// it is.
	longestBlank = 32 << 10
)

// characters is n of a column of char(n), 0 of any other.
func characters(c feed.Column) (n int) {
	if _, err := fmt.Sscanf(c.Type, "character(%d)", &n); err != nil || c.Type != fmt.Sprintf("character(%d)", n) {
		return 0
	}
	return n
}

// padded tells of the copied columns whose values lose their blanks on the way, nil for none.
func (t *table) padded() (columns []bool) {
	if !t.binary {
		return nil
	}
	for _, c := range t.Columns {
		if i := slices.Index(t.columns, c.Name); i >= 0 && characters(c) >= fewestBlanks {
			if columns == nil {
				columns = make([]bool, len(t.columns))
			}
			columns[i] = true
		}
	}
	return columns
}

// unpadding takes blanks off the ends of values in the data of a COPY in binary form, which it
// is given in pieces of any size. Between pieces it holds a value at most.
type unpadding struct {
	// columns are set for those whose values lose their blanks.
	columns []bool
	stage   stage
	column  int
	// held is what has come of a part that is not yet whole, which will measure size bytes.
	held []byte
	size int
	// left is how many bytes pass as they are.
	left int
}

// stage is the part of the data that comes next.
type stage int

const (
	stageHeader stage = iota // signature, flags, size of the header's extension
	stageCount               // of a row's columns
	stageLength              // of a value
	stageValue               // of a padded column, as a whole
	stageEnd                 // nothing more
)

const (
	signature  = "PGCOPY\n\xff\r\n\x00"
	copyHeader = len(signature) + 8
	lengthSize = 4          // of the length before a value
	noValue    = 0xffffffff // the length of NULL
	lastRow    = 0xffff     // the count that ends the data
)

func newUnpadding(columns []bool) *unpadding {
	return &unpadding{columns: columns, size: copyHeader, held: make([]byte, 0, copyHeader)}
}

// take appends to out what becomes of in: at most as many bytes, those it held, and a length.
func (u *unpadding) take(out, in []byte) ([]byte, error) {
	for len(in) > 0 {
		if u.left > 0 {
			n := min(u.left, len(in))
			out, in, u.left = append(out, in[:n]...), in[n:], u.left-n
			continue
		}
		if u.stage == stageCount && len(u.held) == 0 {
			var n int
			if out, n = u.row(out, in); n > 0 {
				in = in[n:]
				continue
			}
		}
		if u.stage == stageEnd {
			return out, errors.New("the data of the copy goes on after its end")
		}
		n := min(u.size-len(u.held), len(in))
		u.held, in = append(u.held, in[:n]...), in[n:]
		if len(u.held) == u.size {
			var err error
			if out, err = u.whole(out); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// row takes a row that in begins with, where that is there as a whole and as it should be;
// else n is 0 and nothing has been done.
func (u *unpadding) row(out, in []byte) (_ []byte, n int) {
	const count = 2
	if len(in) < count || int(binary.BigEndian.Uint16(in)) != len(u.columns) {
		return out, 0
	}
	before := len(out)
	from := 0 // what follows is still to be appended
	n = count
	for _, padded := range u.columns {
		if len(in)-n < lengthSize {
			return out[:before], 0
		}
		size := binary.BigEndian.Uint32(in[n:])
		n += lengthSize
		if size == noValue {
			continue
		}
		if uint64(size) > uint64(len(in)-n) {
			return out[:before], 0
		}
		end := n + int(size)
		if padded && size <= longestBlank && size > 0 && in[end-1] == ' ' {
			value := unpadded(in[n:end])
			out = append(out, in[from:n-lengthSize]...)
			out = binary.BigEndian.AppendUint32(out, uint32(len(value)))
			out = append(out, value...)
			from = end
		}
		n = end
	}
	return append(out, in[from:n]...), n
}

// whole takes a part that has come as a whole.
func (u *unpadding) whole(out []byte) ([]byte, error) {
	part := u.held
	u.held = u.held[:0]
	switch u.stage {
	case stageHeader:
		if string(part[:len(signature)]) != signature {
			return out, errors.New("the data of the copy is not in binary form")
		}
		// An extension would not be of the rows; bit 16 of the flags would be OIDs before them.
		extension := binary.BigEndian.Uint32(part[len(part)-4:])
		if flags := binary.BigEndian.Uint32(part[len(signature):]); flags>>16 != 0 || extension > 1<<30 {
			return out, fmt.Errorf("the data of the copy has an unknown header (%x)", part[len(signature):])
		}
		u.left = int(extension)
		u.expect(stageCount, 2)
	case stageCount:
		count := binary.BigEndian.Uint16(part)
		switch {
		case count == lastRow:
			u.expect(stageEnd, 0)
		case int(count) != len(u.columns):
			return out, fmt.Errorf("a row of the copy has %d columns instead of %d", count, len(u.columns))
		default:
			u.column = -1
			u.next()
		}
	case stageLength:
		size := binary.BigEndian.Uint32(part)
		switch {
		case size == noValue:
			u.next()
		case size > 1<<30:
			return out, fmt.Errorf("a value of the copy has %d bytes", int32(size))
		case u.columns[u.column] && size > 0 && size <= longestBlank:
			u.expect(stageValue, int(size))
			return out, nil // the length will be another
		default:
			u.left = int(size)
			u.next()
		}
	case stageValue:
		part = unpadded(part)
		out = binary.BigEndian.AppendUint32(out, uint32(len(part)))
		u.next()
	}
	return append(out, part...), nil
}

func (u *unpadding) expect(stage stage, size int) { u.stage, u.size = stage, size }

// next expects the next column, or the next row.
func (u *unpadding) next() {
	if u.column++; u.column < len(u.columns) {
		u.expect(stageLength, lengthSize)
		return
	}
	u.expect(stageCount, 2)
}

// end tells whether all has come.
func (u *unpadding) end() error {
	if u.stage != stageEnd {
		return errors.New("the data of the copy ends too early")
	}
	return nil
}

// unpadded is a value without the blanks at its end.
func unpadded(value []byte) []byte {
	const eight = 0x2020202020202020
	n := len(value)
	for n >= 8 && binary.LittleEndian.Uint64(value[n-8:n]) == eight {
		n -= 8
	}
	for n > 0 && value[n-1] == ' ' {
		n--
	}
	return value[:n]
}
