package logical

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// transaction is one transaction as the plugin pgoutput writes it, protocol version 1.
type transaction struct {
	// End is the position that ALTER SUBSCRIPTION ... SKIP wants; After is the one behind it.
	End, After uint64
	XID        uint32
	Changes    []rowChange
}

// rowChange is one row that was changed.
type rowChange struct {
	// Kind is I, U, D or T.
	Kind     byte
	Relation *relation
	// Row is the new row of I and U, and the old key of D; nil of T. Old is the old key of U, nil
	// where it stays.
	Row, Old []value
}

// relation is a table as the publisher describes it.
type relation struct {
	Schema, Name string
	Columns      []relationColumn
}

type relationColumn struct {
	Key  bool
	Name string
}

// value is one column's text; Known is false where it is not told (unchanged and out of line).
type value struct {
	Text        string
	Null, Known bool
}

// decoder reads messages one after the other. Relations are told once.
type decoder struct {
	relations map[uint32]*relation
	done      []*transaction
	current   *transaction
}

var errMessage = errors.New("a message of pgoutput that cannot be read")

// take reads one message.
func (d *decoder) take(message []byte) (err error) {
	// A message that is too short is one that we do not understand.
	defer func() {
		if recover() != nil {
			err = errMessage
		}
	}()
	m := &reader{message}
	kind := m.byte()
	if d.current == nil && kind != 'B' && kind != 'R' && kind != 'Y' && kind != 'O' {
		return nil // a logical message outside of transactions
	}
	switch kind {
	case 'B':
		d.current = &transaction{End: m.uint64()}
		m.uint64()
		d.current.XID = m.uint32()
	case 'C':
		m.byte()
		m.uint64()
		d.current.After = m.uint64()
		d.done, d.current = append(d.done, d.current), nil
	case 'R':
		d.relation(m)
	case 'I', 'U', 'D':
		r := d.relations[m.uint32()]
		if r == nil {
			return fmt.Errorf("%w: a table that was not told of", errMessage)
		}
		c := rowChange{Kind: kind, Relation: r}
		tuple := m.byte()
		if kind == 'U' && (tuple == 'K' || tuple == 'O') {
			c.Old = m.tuple()
			m.byte()
		}
		c.Row = m.tuple()
		d.current.Changes = append(d.current.Changes, c)
	case 'T':
		n := int(m.uint32())
		m.byte()
		for range n {
			if r := d.relations[m.uint32()]; r != nil {
				d.current.Changes = append(d.current.Changes, rowChange{Kind: 'T', Relation: r})
			}
		}
	}
	return nil
}

func (d *decoder) relation(m *reader) {
	oid := m.uint32()
	r := &relation{Schema: m.text(), Name: m.text()}
	if r.Schema == "" {
		r.Schema = "pg_catalog"
	}
	m.byte()
	for range m.uint16() {
		c := relationColumn{Key: m.byte()&1 != 0, Name: m.text()}
		m.uint32()
		m.uint32()
		r.Columns = append(r.Columns, c)
	}
	d.relations[oid] = r
}

// reader takes a message apart. It panics at its end.
type reader struct{ rest []byte }

func (m *reader) next(n int) []byte {
	b := m.rest[:n]
	m.rest = m.rest[n:]
	return b
}

func (m *reader) byte() byte     { return m.next(1)[0] }
func (m *reader) uint16() uint16 { return binary.BigEndian.Uint16(m.next(2)) }
func (m *reader) uint32() uint32 { return binary.BigEndian.Uint32(m.next(4)) }
func (m *reader) uint64() uint64 { return binary.BigEndian.Uint64(m.next(8)) }

// text is up to the next zero byte.
func (m *reader) text() string {
	n := 0
	for m.rest[n] != 0 {
		n++
	}
	text := string(m.next(n))
	m.byte()
	return text
}

func (m *reader) tuple() []value {
	all := make([]value, m.uint16())
	for i := range all {
		switch m.byte() {
		case 'n':
			all[i] = value{Null: true, Known: true}
		case 't', 'b':
			all[i] = value{Text: string(m.next(int(m.uint32()))), Known: true}
		}
	}
	return all
}
