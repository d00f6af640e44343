package parser

// String is the relation as reasons and messages name it.
func (r Relation) String() string {
	switch {
	case r.Schema == "":
		return r.Name
	case r.Name == "":
		return r.Schema
	}
	return r.Schema + "." + r.Name
}

// ReadText is Reads[i].String() without the allocation.
func (p *Part) ReadText(i int) string { return p.names[i] }

// WriteText is Writes[i].String() without the allocation.
func (p *Part) WriteText(i int) string { return p.names[len(p.Reads)+i] }

// DefineText is Defines[i].String() without the allocation.
func (p *Part) DefineText(i int) string { return p.names[len(p.Reads)+len(p.Writes)+i] }
