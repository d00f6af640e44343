package router

import "pgshunt/parser"

// usage is what one statement means to routing, once names are resolved. It is made
// anew for every decision, on the stack.
type usage struct {
	class   Class
	subject string // what the class is about, "" for nothing in particular
	kind    parser.Kind

	pgml   bool // anything of PostgresML, or of the replicas alone, is called, read, written or named
	lone   bool // something that only replicas have is named
	trains bool // training or model administration is called
	infers bool
	// adminWrite is set where relations of schema pgml, or such as replicas alone have,
	// are written or locked; otherWrite where others are.
	adminWrite, otherWrite bool
	written                string // the first relation of otherWrite
	reads                  bool   // relations that come from the primary are read
	unknown                string // the first function that is not known to be harmless
	effects                string // the first function of both servers that is known to be none of that
	system                 bool   // a system catalog is read
	volatile, clock        bool   // as Part.Volatile and Clock, views included
	project                string
	models                 bool // calls something that needs a trained model
	param                  int
	source                 string // relation_name of a training call, when constant
	sourceParam            int    // and the number of the parameter, where it is one
	sourceHidden           bool   // and whether it is some other expression
	overloaded             uint64 // the targets that have the functions of pg_catalog, and those of the database by their names
	ready                  uint64 // the targets that have all that is read and called
	copied                 uint64 // those of foreign tables where some of it is a copy
}

// inspect resolves the names of p.
func inspect(p *parser.Part, v *View, known *Catalog) usage {
	u := usage{kind: effective(p), volatile: p.Volatile, clock: p.Clock, ready: everywhere, overloaded: everywhere}
	for i := range p.Calls {
		u.call(&p.Calls[i], v, known)
	}
	for i, r := range p.Writes {
		switch {
		case inPgml(r, v) || u.alone(r, v, known):
			u.pgml, u.adminWrite = true, true
			u.about(p.WriteText(i))
		case !u.otherWrite:
			u.otherWrite, u.written = true, p.WriteText(i)
		}
	}
	for i, r := range p.Reads {
		switch {
		case inPgml(r, v):
			u.pgml = true
			u.about(p.ReadText(i))
			u.adminWrite = u.adminWrite || p.Locks
		case isSystem(r):
			u.system = true
		case known == nil:
			u.reads = true
		default:
			u.relation(p, i, v, known)
		}
	}
	for i, r := range p.Defines {
		if inPgml(r, v) || u.alone(r, v, known) {
			u.pgml = true
			u.about(p.DefineText(i))
		}
	}
	for _, schema := range p.TypeSchemas {
		if schema == pgmlSchema {
			u.pgml = true
			u.about(pgmlSchema)
		}
	}
	u.system = u.system || p.System
	if known != nil && known.hazards.any() && u.unknown == "" {
		var t traces
		t.add(p)
		u.unknown = known.hazards.meet(&t, p.Reads, p.Columns, v)
	}
	u.classify(p)
	return u
}

// effective is the kind of the statement that does the work.
func effective(p *parser.Part) parser.Kind {
	switch p.Kind {
	case parser.Explain, parser.Prepare, parser.Declare:
		return p.Body
	case parser.CopyTo:
		if p.Body != parser.Other {
			return p.Body
		}
	}
	return p.Kind
}

func (u *usage) about(subject string) {
	if u.subject == "" {
		u.subject = subject
	}
}

func isSystem(r parser.Relation) bool {
	if r.Schema == "pg_catalog" || r.Schema == "information_schema" {
		return true
	}
	return r.Schema == "" && len(r.Name) > 3 && r.Name[:3] == "pg_"
}

// classify names the class from what was found.
func (u *usage) classify(p *parser.Part) {
	switch {
	case isSession(p.Kind):
		u.class = Session
	case u.trains:
		u.class = Training
	case u.kind == parser.DDL && !u.otherWrite:
		u.class = Schema
	case u.kind == parser.Other:
		u.class = Schema
		if len(p.Defines) == 0 && len(p.Writes) == 0 {
			u.class = Write
		}
	case u.otherWrite:
		u.class = Write
		if u.kind == parser.DDL {
			u.class = Schema
		}
	case u.adminWrite:
		u.class = Training
	case u.infers:
		u.class = Inference
	case u.pgml:
		u.class = Describe
	case p.Locks || p.Server || u.kind == parser.Do || u.kind == parser.CallProcedure || u.kind == parser.LockTable:
		u.class = Write
	case u.volatile && !u.clock:
		u.class = Write
	default:
		u.class = Read
	}
}

// isSession reports whether a command is about the session and not about data.
func isSession(k parser.Kind) bool {
	switch k {
	case parser.Set, parser.Reset, parser.Show, parser.Begin, parser.Commit, parser.Rollback,
		parser.Savepoint, parser.Release, parser.RollbackTo, parser.PrepareTransaction,
		parser.Execute, parser.Deallocate, parser.Fetch, parser.Close, parser.Listen,
		parser.Notify, parser.Unlisten, parser.Discard, parser.Load:
		return true
	}
	return false
}

// isTransaction reports whether a command opens, ends or divides a transaction block.
func isTransaction(k parser.Kind) bool {
	switch k {
	case parser.Begin, parser.Commit, parser.Rollback, parser.Savepoint, parser.Release,
		parser.RollbackTo, parser.PrepareTransaction:
		return true
	}
	return false
}
