package schema

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pgshunt/feed"
	"pgshunt/feed/program"
)

// Need says how much of a table's surroundings is brought.
type Need int

const (
	// Types are schemas, extensions, types, domains, collations, and the functions that
	// defaults and checks call.
	Types Need = iota
	// Tables are the tables themselves too, empty, with sequences, defaults, checks, row
	// security and its policies, comments, and the privileges of roles that exist there.
	Tables
	// Indexes are primary keys, unique constraints, indexes, statistics objects, and the
	// foreign keys between fed tables too.
	Indexes
)

// Bring makes on run.Target what tables of the primary need there and it lacks. What
// exists there is left alone, whatever its definition. Each of Types, Tables and Indexes
// is one transaction there. Tables are made with the columns that the selection feeds, without
// triggers, rules and owners; foreign tables are not made. On the primary it reads the
// catalogs and takes for a moment the lock of a reader on each table.
func Bring(ctx context.Context, run *feed.Run, tables []*feed.Table, need Need) error {
	tables = slices.DeleteFunc(slices.Clone(tables), func(t *feed.Table) bool { return t.Kind == 'f' })
	if len(tables) == 0 {
		return nil
	}
	b := &bringing{run: run, tables: tables, byName: feed.Index(tables), need: need}
	return b.do(ctx)
}

// Surround brings what the tables and their policies need besides relations, as the first step of
// Bring does. Where saved is not nil all that is of the primary comes from there. What cannot be
// brought is told of and no error: policies that need it cannot be made, by which less is shown, and
// what was taken from somebody on the primary does not wait for that.
func Surround(ctx context.Context, run *feed.Run, saved *Saved, tables []*feed.Table) {
	b := &bringing{run: run, tables: tables, byName: feed.Index(tables), need: Tables, saved: saved}
	end, err := b.open(ctx)
	if err == nil {
		err = errors.Join(b.types(ctx), end())
	}
	if err != nil {
		run.Note(run.Target.Name, "what policies need cannot be made: %v", err)
	}
}

// bringing is one call of Bring.
type bringing struct {
	run             *feed.Run
	tables          []*feed.Table
	byName          map[string]*feed.Table
	need            Need
	primary, target *pgx.Conn
	socket          *program.Socket
	dir             string
	programs        program.Set
	// facts are what the primary says, around what the tables need by object of the primary,
	// and have what the replica has.
	facts  facts
	around map[object]surrounding
	have   inventory
	// saved is set where all that is of the primary comes from a directory.
	saved *Saved
}

func (b *bringing) do(ctx context.Context) (err error) {
	end, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	if err := b.types(ctx); err != nil || b.need == Types {
		return err
	}
	r, err := b.writeDown(ctx)
	if err != nil {
		return err
	}
	if err := r.look(ctx); err != nil {
		return err
	}
	if err := r.bringTables(ctx); err != nil || b.need == Tables {
		return err
	}
	return r.bringIndexes(ctx)
}

// open connects and looks at both servers. end closes what it has opened.
func (b *bringing) open(ctx context.Context) (end func() error, err error) {
	var ends []func() error
	end = func() error {
		var err error
		for _, one := range slices.Backward(ends) {
			err = errors.Join(err, one())
		}
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	connect := func(conn **pgx.Conn, server *feed.Server) (err error) {
		if *conn, err = server.Connect(ctx); err == nil {
			ends = append(ends, func() error { _ = (*conn).Close(context.WithoutCancel(ctx)); return nil })
		}
		return err
	}
	if err = connect(&b.target, b.run.Target); err != nil {
		return end, err
	}
	dir, remove, err := program.Scratch()
	if err != nil {
		return end, err
	}
	b.dir, ends = dir, append(ends, remove)
	if b.saved != nil {
		b.facts = b.saved.Facts
		b.programs, err = program.FindNewest(ctx, b.saved.Major)
	} else if err = connect(&b.primary, b.run.Primary); err == nil {
		ends, err = b.ask(ctx, ends)
	}
	if err != nil {
		return end, err
	}
	b.around = b.facts.surroundings()
	return end, b.takeStock(ctx)
}

// ask looks at the primary and lets pg_dump log in there.
func (b *bringing) ask(ctx context.Context, ends []func() error) (_ []func() error, err error) {
	if b.programs, err = program.Find(ctx, program.Major(b.primary.PgConn().ParameterStatus("server_version"))); err != nil {
		return ends, err
	}
	if b.socket, err = program.OpenSocket(ctx, b.run.Primary); err != nil {
		return ends, err
	}
	ends = append(ends, b.socket.Close)
	if b.facts, err = gather(ctx, b.primary, b.tables, b.need); err != nil {
		err = &feed.Error{Server: b.run.Primary.Name, Doing: "look for what the tables need", Err: err}
	}
	return ends, err
}

// takeStock looks at what the replica has.
func (b *bringing) takeStock(ctx context.Context) (err error) {
	classes := append([]uint32{classRelation, classConstraint, classPolicy, classStatistics}, surroundings...)
	if b.have, err = take(ctx, b.target, classes); err != nil {
		return &feed.Error{Server: b.run.Target.Name, Doing: "look at what is there", Err: err}
	}
	return nil
}

// types brings what the tables need and is no relation.
func (b *bringing) types(ctx context.Context) error {
	step := feed.Step{On: b.run.Target, What: "make the schemas, types and functions that the tables need"}
	missing := func(s surrounding) bool { return s.relation == "" && !b.have.has(s.class, s.identity) }
	var extensions []string
	lacks := false
	for _, s := range b.around {
		if missing(s) && !s.member {
			lacks = true
			if s.class == classExtension {
				extensions = append(extensions, s.identity)
			}
		}
	}
	if !lacks {
		b.run.Done(step)
		return nil
	}
	if err := b.available(ctx, extensions); err != nil {
		return err
	}
	a, err := b.surroundings(ctx)
	if err != nil {
		return err
	}
	chosen := make(map[int]bool)
	sql, err := a.sql(ctx, func(e entry) bool {
		s, isNeeded := b.around[e.object]
		chosen[e.id] = isNeeded && missing(s) || e.kind == "COMMENT" && len(e.needs) > 0 && chosen[e.needs[0]]
		return chosen[e.id]
	})
	if err != nil {
		return &feed.Error{Server: b.run.Primary.Name, Doing: "write down its types and functions by pg_restore", Err: err}
	}
	grants, err := b.schemaGrants(ctx)
	if err != nil {
		return err
	}
	return b.make(ctx, step, sql+grants)
}

// aroundArgs are pg_dump's for what is no relation: '*.*' is every relation, and none is
// looked at or locked.
var aroundArgs = append(slices.Clone(formatDefinitions), "--exclude-table=*.*",
	"--exclude-schema=pgml", "--exclude-schema="+feed.JournalSchema, "--exclude-schema="+feed.JournalSchema+"_*")

// surroundings makes the archive of what is no relation, or opens the one that was saved.
func (b *bringing) surroundings(ctx context.Context) (*archive, error) {
	if b.saved != nil {
		a, err := b.saved.open(ctx, b.programs, b.dir, aroundFile)
		if err != nil {
			err = b.saved.damaged(err)
		}
		return a, err
	}
	a, err := dump(ctx, b.programs, b.socket, b.dir, aroundFile, aroundArgs...)
	if err != nil {
		return nil, &feed.Error{Server: b.run.Primary.Name, Doing: "write down its types and functions by pg_dump", Err: err}
	}
	return a, nil
}

// available complains of extensions that are needed and not installed on the replica's machine.
func (b *bringing) available(ctx context.Context, extensions []string) error {
	if len(extensions) == 0 {
		return nil
	}
	slices.Sort(extensions)
	var lacking []string
	err := b.target.QueryRow(ctx, `SELECT coalesce(array_agg(want ORDER BY want), '{}') FROM unnest($1::text[]) want
		WHERE want NOT IN (SELECT quote_ident(name) FROM pg_available_extensions)`, extensions).Scan(&lacking)
	if err == nil && len(lacking) > 0 {
		err = fmt.Errorf("the tables need %s, which is not installed there", strings.Join(lacking, ", "))
		return &feed.Error{Server: b.run.Target.Name, Doing: "look for extensions", Err: err, Next: "install it on the replica's machine, or leave the tables that need it out of replicas[].tables"}
	}
	if err != nil {
		return &feed.Error{Server: b.run.Target.Name, Doing: "look for extensions", Err: err}
	}
	return nil
}

// preamble is what pg_restore sets before definitions, as far as it concerns them: bodies
// of functions may name what comes later.
const preamble = "SET check_function_bodies = off;\nSET client_min_messages = warning;\n"

// make carries out definitions as one transaction.
func (b *bringing) make(ctx context.Context, step feed.Step, sql string) error {
	if strings.TrimSpace(sql) == "" {
		b.run.Done(step)
		return nil
	}
	step.SQL = preamble + sql
	return b.run.Do(ctx, b.target, step)
}
