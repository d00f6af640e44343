// Package parser reads SQL and says what routing and the session's state need to know
// about it. It is the only package that imports pg_query_go.
//
//	cache := parser.New(parser.Options{})
//	st := cache.Statement(text)        // text is only borrowed; never nil, never an error
//	for i := range st.Parts {          // one Part for each statement of the text
//		p := &st.Parts[i]              // p.Kind, p.Calls, p.Reads, p.Writes, p.Setting, p.Pin ...
//	}
//
// A Statement is immutable and shared by every session that sends the same text. What
// cannot be read has Unparsed set and no parts: PostgreSQL is the authority on it, and
// its grammar may be newer than pg_query's (PostgreSQL 16).
//
// # From text to facts
//
// parse.go: bounds, one cheap pass of our own lexer (scan.go: depth, hint, backslashes), the C
// parser, then a walk over the tree. The walk (walk.go) has cases for the nodes that mean
// something: query.go for SELECT and DML, call.go for functions, command.go, definition.go
// and setting.go for utility statements, column.go for the columns used. Every other node is
// walked through its children by reflection, and TestEveryPositionIsWalked tries every place
// that the grammar has, so no expression position is forgotten. Bodies in SQL and PL/pgSQL are parsed
// too (body.go); what a function body writes is not written by CREATE FUNCTION, so only what
// it calls and reads counts there, and all of it in DO.
//
// pg_query's C code has no limit on recursion of its own: a text nested or chained too
// deeply is refused before it gets there. At most one C parse per core runs at a time.
//
// # The cache
//
// Keys are the text, or for most single statements its normal form (normal.go): literals
// replaced by a mark, white space and comments by a space. So texts that differ only in
// literals share one Statement, with Shared set: Text, Start and End are then those of the
// first text seen, and whoever sends SQL sends the client's own bytes. A Statement with a
// fact that a literal decides is never shared: arguments of functions that are not built
// in, SET and set_config, bodies, hints. Constants given to built-in functions are
// therefore not kept in Call.Args.
//
// In front of both stands a small table of texts that came twice, cut at their literals
// (pattern.go): a text that comes again with other literals is compared between them, and
// only they are read. It takes no lock.
//
// A normal form is right as long as our lexer and PostgreSQL's agree about where literals
// are; FuzzLexer compares them. A hit behind that table takes one or two look-ups under one
// mutex; none allocates anything, and the cache is bounded in entries and in bytes.
//
// # What the tree does not show
//
// Views, rules, triggers, defaults, casts and user functions may call anything, and so may
// functions and operators that carry a name of pg_catalog's but take a type of the user's
// own. A column of a relation, t.c, may be a function c of a row of t: Columns and Fields have
// such names. Volatile is about
// functions of pg_catalog by name (builtins.txt, functions.go) and dblink, however they are
// called: as name(x), (x).name, or x.name where x is a function of FROM. The words 'now'
// and 'today' in a string are not looked for.
// Settings and pins inside user functions are not seen. With standard_conforming_strings
// off, a text with Backslashes set was misread; with a client_encoding other than UTF-8,
// bytes above 127 make a text Unparsed or, where they happen to be valid UTF-8, only
// change what is inside strings and identifiers, except in encodings such as SJIS and
// BIG5 whose second bytes can be ASCII: a session in one of those must treat every
// text with a byte above 127 as unparsed.
package parser
