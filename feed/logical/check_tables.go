package logical

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"pgshunt/feed"
)

// withoutEquality are built-in types whose values cannot be compared, so that a row that is
// identified by all its columns is not found by them.
var withoutEquality = []string{"json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle", "jsonpath"}

// checkTables judges each table by itself.
func (s *session) checkTables(ctx context.Context, all []*table) ([]feed.Problem, error) {
	p := &problems{server: s.run.Primary.Name}
	if len(all) == 0 {
		p.block("tables", fmt.Sprintf("it has no table that the patterns of %s match", s.run.Replica.Name), "", "look at replicas[].tables")
	}
	for _, name := range s.unmatched(all) {
		p.block("tables", fmt.Sprintf("columns or where is configured for %s, which is not fed", name), "", "it is not there, or tables leaves it out")
	}
	for _, t := range all {
		s.checkPrivileges(p, t)
		switch {
		case t.Kind == 'f':
			p.block("foreign_table", t.Plain()+" is a foreign table, which has no changes to be sent", "", "leave it out by '!"+t.Plain()+"' in tables")
		case t.Unlogged:
			p.block("unlogged", t.Plain()+" is unlogged: its changes are in no log", "ALTER TABLE "+t.Qualified()+" SET LOGGED", "or leave it out by '!"+t.Plain()+"' in tables")
		case t.leaf():
			s.checkIdentity(p, t)
			if err := s.checkPart(ctx, p, t); err != nil {
				return nil, err
			}
		}
	}
	err := s.checkHashes(ctx, p, all)
	return p.all, err
}

// unmatched names the tables that columns and where speak of and that are not fed.
func (s *session) unmatched(all []*table) (some []string) {
	have := feed.Index(plain(all))
	for name := range s.run.Replica.Columns {
		if have[name] == nil {
			some = append(some, name)
		}
	}
	for name := range s.run.Replica.Where {
		if have[name] == nil && !slices.Contains(some, name) {
			some = append(some, name)
		}
	}
	slices.Sort(some)
	return some
}

func (s *session) checkPrivileges(p *problems, t *table) {
	if !t.leaf() {
		return
	}
	user, source := s.run.Primary.User(), s.run.Source.LoginUser()
	if !t.owned {
		p.block("owner", fmt.Sprintf("%s does not own %s and so may not publish it", user, t.Plain()), "GRANT "+role(t.owner)+" TO "+role(user), "")
	}
	if !t.usage {
		p.block("usage", fmt.Sprintf("%s may not use schema %s", source, t.Schema), "GRANT USAGE ON SCHEMA "+feed.Quote("", t.Schema)+" TO "+role(source), "")
	}
	if !t.read {
		columns := ""
		if t.columns != nil {
			columns = " (" + names(t.columns) + ")"
		}
		p.block("select", fmt.Sprintf("%s may not read %s", source, t.Plain()), "GRANT SELECT"+columns+" ON "+t.Qualified()+" TO "+role(source), "")
	}
	if !t.whole {
		p.block("row_security", fmt.Sprintf("row-level security of %s hides rows from %s", t.Plain(), source), "ALTER ROLE "+role(source)+" BYPASSRLS", "")
	}
}

// checkIdentity refuses a table whose UPDATE and DELETE the primary would refuse once it is
// published, or whose rows the replica would not find.
func (s *session) checkIdentity(p *problems, t *table) {
	if len(t.key) == 0 && !t.full {
		remedy, note := "ALTER TABLE "+t.Qualified()+" REPLICA IDENTITY FULL", "or give it a primary key; before PostgreSQL 16 FULL makes the replica read the whole table for each row that changes"
		if t.candidate != "" {
			remedy, note = identifiedBy(t)
		}
		p.block("replica_identity", fmt.Sprintf("%s has nothing that tells its rows apart: once it is published, the primary would refuse UPDATE and DELETE on it", t.Plain()), remedy, note)
		return
	}
	if s.checkComputed(p, t) || !t.full {
		return
	}
	for _, c := range t.Columns {
		if slices.Contains(withoutEquality, c.Type) {
			remedy, note := identifiedBy(t)
			p.block("replica_identity", fmt.Sprintf("%s is identified by all its columns, and values of %s (%s) cannot be compared", t.Plain(), c.Name, c.Type), remedy, note)
			return
		}
	}
	const many = 10000
	if s.to < v16 && t.Rows > many {
		remedy, note := identifiedBy(t)
		p.warn("replica_identity", fmt.Sprintf("%s is identified by all its columns: for each row that changes the replica reads the whole table", t.Plain()), remedy, note)
	}
}

// identifiedBy is how a table gets an identity of fewer columns than all.
func identifiedBy(t *table) (remedy, note string) {
	if t.candidate == "" {
		return "", "give it a primary key, or REPLICA IDENTITY USING INDEX of a unique index over columns that are NOT NULL and not generated"
	}
	return "ALTER TABLE " + t.Qualified() + " REPLICA IDENTITY USING INDEX " + feed.Quote("", t.candidate), ""
}

// checkComputed refuses an identity that has generated columns, and reports whether it did.
// Their values are not sent: from PostgreSQL 18 on the primary refuses UPDATE and DELETE of a
// table whose identity has one, FULL too, and before it the replica finds no row by a key that has.
func (s *session) checkComputed(p *problems, t *table) bool {
	for _, c := range t.Columns {
		keyed := slices.Contains(t.key, c.Name)
		if c.Generated == 0 || !keyed && !(t.full && s.on >= v18) {
			continue
		}
		by, then := "all its columns", "once it is published, the primary would refuse UPDATE and DELETE on it"
		if keyed {
			by = strings.Join(t.key, ", ")
		}
		if s.on < v18 {
			then = "the replica would not find a row that changes"
		}
		remedy, note := identifiedBy(t)
		p.block("replica_identity", fmt.Sprintf("%s is identified by %s, of which %s is generated and not sent: %s", t.Plain(), by, c.Name, then), remedy, note)
		return true
	}
	return false
}

// checkPart judges the columns and the condition of a table that is fed in part.
func (s *session) checkPart(ctx context.Context, p *problems, t *table) error {
	if t.columns == nil && t.where == "" {
		return nil
	}
	if s.on < v15 || s.to < v15 {
		p.block("partial", fmt.Sprintf("%s is to be fed in part, which needs PostgreSQL 15 on both servers", t.Plain()), "", "take it out of columns and where, or upgrade")
		return nil
	}
	identity := t.key
	if t.full {
		identity = nil
		for _, c := range t.Columns {
			if c.Generated == 0 {
				identity = append(identity, c.Name)
			}
		}
	}
	if t.columns != nil {
		for _, name := range t.columns {
			switch c := t.Column(name); {
			case c == nil:
				p.block("columns", fmt.Sprintf("%s has no column %s, which is to be fed", t.Plain(), name), "", "look at replicas[].columns")
			case c.Generated != 0: // PostgreSQL 18 would send it, to a column that takes no value
				p.block("columns", fmt.Sprintf("%s.%s is generated and cannot be fed", t.Plain(), name), "", "take it out of columns; the replica computes it")
			}
		}
		for _, name := range identity {
			if !slices.Contains(t.columns, name) {
				p.block("columns", fmt.Sprintf("columns of %s lacks %s, which is a part of its replica identity: the primary would refuse UPDATE and DELETE", t.Plain(), name),
					"", "add "+name+" to columns")
			}
		}
	}
	if t.where == "" {
		return nil
	}
	used, err := s.columnsOf(ctx, t)
	if sqlstate(err) == codeNotAllowed {
		// The publication would take any condition, and then the primary refuse UPDATE.
		p.block("where", fmt.Sprintf("which columns the condition for %s uses cannot be seen by a temporary view: %s", t.Plain(), feed.Cause(err)),
			"GRANT TEMPORARY ON DATABASE "+feed.Quote("", s.run.Primary.Database())+" TO "+role(s.run.Primary.User()), "")
		return nil
	}
	if err != nil {
		p.block("where", fmt.Sprintf("the condition for %s: %s", t.Plain(), feed.Cause(err)), "", "look at replicas[].where")
		return ctx.Err()
	}
	for _, name := range used {
		if !slices.Contains(identity, name) {
			p.block("where", fmt.Sprintf("the condition for %s uses %s, which is not a part of its replica identity: the primary would refuse UPDATE and DELETE", t.Plain(), name),
				"ALTER TABLE "+t.Qualified()+" REPLICA IDENTITY FULL", "or let the condition use "+strings.Join(identity, ", ")+" only")
		}
	}
	return nil
}

// columnsOf names the columns that a condition uses. Only the server can read it; it is
// asked by a temporary view, in a transaction that is rolled back.
func (s *session) columnsOf(ctx context.Context, t *table) ([]string, error) {
	tx, err := s.primary.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // the transaction is for nothing else
	if _, err := tx.Exec(ctx, "CREATE TEMP VIEW pgshunt_condition AS SELECT 1 AS one FROM ONLY "+t.Qualified()+" WHERE ("+t.where+")"); err != nil {
		return nil, err
	}
	return column[string](ctx, tx.Conn(), `SELECT DISTINCT a.attname::text FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
		JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
		WHERE r.ev_class = 'pg_temp.pgshunt_condition'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 ORDER BY 1`, t.OID)
}
