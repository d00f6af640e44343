package router

import (
	"iter"

	"pgshunt/parser"
)

// Source is what one server says about the relations and functions of one database.
// NewCatalog reads several of them side by side, so they are streams and none is held.
type Source struct {
	// Target is the server's index in Fleet.Targets, 0 to 63.
	Target int
	// Few is set for a replica where less than half of the primary's relations can be
	// read. It changes what is kept of the comparison and not what is known: with it,
	// what such a replica has is kept; without it, what it lacks.
	Few bool
	// Lacking are the names of functions in the primary's pg_catalog that a replica of another
	// version has not.
	Lacking []string
	// Relations yields tables, partitioned and foreign tables, views, materialized views
	// and sequences outside pg_catalog, information_schema and schema pgml, ordered by
	// name and then schema, both compared byte by byte (COLLATE "C"). An error ends it.
	Relations iter.Seq2[RelationFacts, error]
	// Functions yields functions, aggregates, procedures and operators outside pg_catalog and
	// information_schema, with those of schema pgml, and casts of users, in the same order;
	// overloads are rows of their own.
	Functions iter.Seq2[FunctionFacts, error]
}

// RelationFacts describes one relation on one server.
type RelationFacts struct {
	Schema, Name string
	// Columns has a line for each column, "name type", ordered byte by byte. Names
	// are as quote_ident writes them, types as format_type does with an empty search_path.
	// It may be empty for a sequence.
	Columns string
	// Absent is a phrase that says why the rows of a replica's relation are not the
	// primary's: "is not subscribed", "is still being copied", "its subscription is
	// disabled", "is replicated there only in part". "" where they are, and on the primary.
	Absent string
	// Copied is set on a replica that reads through foreign tables, where this relation is a copy
	// instead: it is as old as Target.Lag.
	Copied bool
	// Security tells apart what row-level security lets see: any text that is equal where
	// the policies are, "" where it is not enabled.
	Security string
	// Policies holds the facts of the conditions under which row-level security shows rows,
	// where they read relations or call functions of users; else nil.
	Policies *parser.Part
	// Readers are the roles that may read the relation, and "role(column)" for those that
	// may read one column, ordered and with commas between; "public" for everybody.
	// Superusers are left out, and so is the owner on a replica, since who restores a copy
	// owns it.
	Readers string
	// Barred is set on a replica where somebody may not use the schema who may on the primary:
	// a name without a schema means the relation of a later schema of search_path to them.
	Barred bool
	// Touches is set on the primary where a write reaches what the statement does not name:
	// a trigger of a user's, a rule, a foreign key that cascades or sets.
	Touches bool
	// View holds the facts of a view's or materialized view's query, read with an empty
	// search_path; nil for other relations. A view whose query cannot be read has Opaque set.
	View *parser.Part
	// Definition tells views apart that read and call the same and are not the same: any
	// text, "" where that cannot be told.
	Definition string
}

// FunctionFacts describes one function on one server, or one operator, which is a function
// by the operator's name whose body calls the operator's.
type FunctionFacts struct {
	Schema, Name string
	// Volatility is pg_proc.provolatile: 'i', 's' or 'v'.
	Volatility byte
	// Language is the name in pg_language: "sql", "plpgsql", "c", "internal" ...
	Language string
	// Body holds what the body calls and reads, as parsing its CREATE FUNCTION says; nil
	// where it is not SQL or PL/pgSQL, or could not be read.
	Body *parser.Part
	// OfRow is set where it takes one argument that may be a row, so that r.name calls it.
	OfRow bool
	// Hidden is about what PostgreSQL calls by itself: a cast, a domain's check, a function of a type or of an
	// operator family. Schema is "" then, and nothing is called by Name.
	Hidden Hidden
	// Definition tells apart what the functions compute, with their arguments; "" where the
	// authors of an extension answer for that (c, internal).
	Definition string
}

// Hidden says where a function is called that no statement names. The zero value is anywhere.
type Hidden struct {
	// Types are the types of users whose values it is called for, and those that such values may be
	// part of, without their schemas, with a comma between two.
	Types string
	// Relations are those in whose plans it may be called, without their schemas, one a line.
	Relations string
	// Explicit is set where it is called only where a statement names one of Types.
	Explicit bool
	// Family is set where it is not called but for Types and Relations, or for a function or
	// operator of users: with neither, the zero value would be anywhere.
	Family bool
}
