package parser

import "unsafe"

// entryBytes is what one entry of a Cache takes beside its key and Statement: itself,
// and its place in the list and the map of the LRU.
const entryBytes = int(unsafe.Sizeof(entry{})) + 160

// footprint is the memory of a Statement with all it refers to, in bytes. The names in
// its facts are strings of their own, as the tree had them.
func footprint(st *Statement) int {
	n := size[Statement]() + len(st.Text) + len(st.Unparsed) + len(st.Hint) + cap(st.Parts)*size[Part]()
	if q := st.Question; q != nil {
		n += size[Question]() + len(q.Text) + len(q.Wrong)
	}
	for i := range st.Parts {
		n += st.Parts[i].footprint()
	}
	return n
}

// footprint is the memory that p refers to.
func (p *Part) footprint() int {
	n := len(p.Name) + len(p.Isolation) + texts(p.names) + texts(p.Columns) + texts(p.Fields) + texts(p.TypeSchemas) + texts(p.Types)
	for _, list := range [...][]Relation{p.Reads, p.Writes, p.Defines} {
		n += cap(list) * size[Relation]()
		for _, r := range list {
			n += len(r.Schema) + len(r.Name)
		}
	}
	n += cap(p.Calls) * size[Call]()
	for i := range p.Calls {
		c := &p.Calls[i]
		n += len(c.Schema) + len(c.Name) + len(c.Text) + cap(c.Args)*size[Arg]()
		for _, a := range c.Args {
			n += len(a.Name) + len(a.Const)
		}
	}
	if p.Setting != nil {
		n += size[Setting]() + p.Setting.footprint()
	}
	return n
}

func (s *Setting) footprint() int {
	n := len(s.Name) + len(s.SQL) + len(s.Value) + cap(s.Also)*size[Setting]()
	for i := range s.Also {
		n += s.Also[i].footprint()
	}
	return n
}

func texts(list []string) int {
	n := cap(list) * size[string]()
	for _, s := range list {
		n += len(s)
	}
	return n
}

func size[T any]() int {
	var v T
	return int(unsafe.Sizeof(v))
}
