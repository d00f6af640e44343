package parser

// isPlain tells whether st is one statement that reads or changes rows and leaves
// nothing else behind, as far as the tree shows and names of pg_catalog mean what they do
// there. It asks for more than it must: what is not plain is only looked at closely.
func isPlain(st *Statement) bool {
	if st.Unparsed != "" || len(st.Parts) != 1 {
		return false
	}
	p := &st.Parts[0]
	if !overRows(p.Kind) || p.Setting != nil || p.Pin != "" || p.Name != "" || p.Isolation != "" || p.Body != Other || len(p.Defines) > 0 ||
		p.Drops || p.Unlocks || p.ReadOnlyTx || p.Chain || p.Analyze || p.Server || p.Opaque {
		return false
	}
	for i := range p.Calls {
		if c := &p.Calls[i]; !c.Builtin || c.Name == "pg_prepared_statement" {
			return false
		}
	}
	for _, r := range p.Reads {
		if r.Name == "pg_prepared_statements" {
			return false
		}
	}
	return true
}

// overRows tells of the kinds of statements that read or change rows.
func overRows(k Kind) bool {
	switch k {
	case Select, Values, Insert, Update, Delete, Merge:
		return true
	}
	return false
}
