package parser

// Statement is one SQL text as the router sees it. It is immutable and shared by
// every session that sends the same text, so nothing in it may be changed or
// handed to code that would.
type Statement struct {
	// Text is the SQL as the client sent it.
	Text string
	// Parts are the statements in Text, in order. An empty query has none. When
	// Unparsed is set Parts is empty too.
	Parts []Part
	// Unparsed says why Text could not be read: "syntax", "too long", "too deep",
	// "encoding". Empty when it could. PostgreSQL is the authority on such texts.
	Unparsed string
	// Hint is what follows "pgshunt:" in a leading /*+ pgshunt: ... */ comment:
	// "primary", "replica" or "replica:NAME", spaces trimmed and not validated.
	Hint string
	// Shared is set when texts that differ from this one only in their literals
	// and white space get the same Statement. Text is then the first such text that
	// was seen, and Start and End are offsets into that text: a sender uses the
	// client's own bytes. A shared Statement has exactly one Part.
	Shared bool
	// Plain is set where the Statement is one that reads or changes rows and leaves
	// nothing else behind in the session, nor asks for anything the session has: it has one
	// Part, which calls functions of pg_catalog alone. Most Statements are.
	Plain bool
	// Serial tells Statements apart in tables that have one Part, which reads or changes rows;
	// it is 0 on others and comes round after 2^32.
	Serial uint32
	// Backslashes is set when a plain string literal contains a backslash, or anything does in a
	// Text that is too long to be looked at. Text was
	// read as standard_conforming_strings = on reads it; a session that has turned
	// that off must treat such a Statement as unparsed.
	Backslashes bool
	// Question is set where Text asks pgshunt itself, which answers it without any
	// server. Parts is empty then.
	Question *Question
}

// Part holds what may be known about one statement without asking a server.
type Part struct {
	Kind Kind
	// Calls are the functions called anywhere in the tree, in order of appearance.
	Calls []Call
	// Reads and Writes are the relations named, never CTE names. A relation that is
	// written appears in Reads too only where the statement also reads it.
	Reads, Writes []Relation
	// Defines are the objects that DDL creates, alters or drops; a schema or an
	// extension is a Relation with a Schema and no Name.
	Defines []Relation
	// TypeSchemas are the schemas of qualified type names in casts and column definitions.
	TypeSchemas []string
	// Types are the names of types in casts that are not those of pg_catalog everybody uses.
	Types []string
	// Operators are those of pg_catalog's names that are used without a schema.
	Operators Operators
	// Grants is set for GRANT and REVOKE of roles, and on tables and schemas, DROP OWNED and REASSIGN OWNED.
	Grants bool
	// Effects beyond returning rows, as far as the tree shows them.
	Locks    bool // FOR UPDATE, FOR SHARE and the like, or LOCK TABLE
	Volatile bool // calls something that must run where the session's transaction is: nextval, now, random, txid_current...
	// Clock is set when every reason for Volatile only reads a clock or draws a random
	// number: now(), CURRENT_DATE, random(), gen_random_uuid(). Outside a transaction
	// block any server may answer those.
	Clock bool
	// Columns are the names of the columns referenced, as their last part is written, in
	// any order and each once. Star is set where others may be used as well: by *, a whole
	// row, NATURAL JOIN, an alias that renames columns by their place, or more names than
	// are kept. What the statement only stores (a view, a function) does not count.
	Columns []string
	Star    bool
	// Fields are the names of columns that are used as relation.name in what the statement only
	// stores, where the name may be a function's; each once.
	Fields []string
	// System is set where the answer belongs to one server although nothing is changed:
	// ctid, xmin and the other system columns, and functions that ask about catalogs,
	// privileges, statistics or the server itself.
	System bool
	// Opaque is set where the tree does not show all that runs: EXECUTE of a string in
	// a DO body, a body in another language, CALL, EXPLAIN ANALYZE EXECUTE.
	Opaque bool
	// Setting is what SET, RESET or set_config does to the session; nil for others.
	Setting *Setting
	// Name is the statement, cursor, savepoint, channel or prepared-transaction
	// name of PREPARE, EXECUTE, DEALLOCATE, DECLARE, FETCH, CLOSE, SAVEPOINT,
	// RELEASE, ROLLBACK TO, LISTEN, UNLISTEN; "" for the ALL forms.
	Name string
	// Body is the statement that EXPLAIN, PREPARE, DECLARE and COPY (query) carry; its
	// facts are merged into this Part as well.
	Body Kind
	// Pin says why a session that ran this may not leave its backend; "" if it may.
	Pin string
	// Drops is set where objects go: by DROP, or by ON COMMIT DROP at the transaction's
	// end. Unlocks is set where advisory locks are released.
	Drops, Unlocks bool
	// ReadOnlyTx is set by BEGIN READ ONLY and SET TRANSACTION READ ONLY, ReadWriteTx by the
	// same with READ WRITE; Chain by COMMIT/ROLLBACK AND CHAIN.
	ReadOnlyTx, ReadWriteTx, Chain bool
	// Isolation is the level that BEGIN or SET TRANSACTION names, such as "repeatable read".
	Isolation string
	// Analyze is set by EXPLAIN ANALYZE, which runs the statement.
	Analyze bool
	// Server is set where COPY reads or writes a file or program on the server.
	Server bool
	// Parameters is the number of parameters ($n) the statement names.
	Parameters int
	// names are the texts of Reads, Writes and Defines, in that order.
	names []string
	// literal is set when a fact above depends on a literal of the text.
	literal bool
	// Start and End delimit the statement in Statement.Text, in bytes.
	Start, End int
}

// Call is one function call as written.
type Call struct {
	// Form says how it is written. Operators and fields are Calls where they may be more
	// than their name says; see Form.
	Form Form
	// Schema is "" for an unqualified call; both are folded as PostgreSQL folds identifiers.
	Schema, Name string
	// Text is Schema and Name joined, made once so that a decision can name the call
	// without allocating.
	Text string
	// Args are the arguments in the order written; named notation keeps its name.
	// Constants given to built-in functions without side effects are not kept, so
	// that texts which differ only in such constants can share a Statement.
	Args []Arg
	// Aggregate is set where OVER, WITHIN GROUP, FILTER, DISTINCT or * show that the
	// function is an aggregate or a window function.
	Aggregate bool
	// Constant is set where the arguments hold no parameter, column or subquery: what
	// the call returns may be worked out when the statement is planned.
	Constant bool
	// Builtin is set for functions of pg_catalog. Volatile and Clock of the Part say
	// whether they do more than compute.
	Builtin bool
	// Effects is set for those of pg_catalog that belong to one server, backend or transaction, or
	// change it: what makes a Part Volatile, and more than Clock.
	Effects bool
}

// Form is the notation of a Call.
type Form uint8

const (
	// Written is name(arguments).
	Written Form = iota
	// Operator is a use of an operator that is neither pg_catalog's nor pgvector's by its
	// name, or not pg_catalog's by its schema: Schema and Name are the operator's, and
	// Args is empty.
	Operator
	// Field is (expression).name, which PostgreSQL reads as name(expression) where the
	// expression has no field of that name. A column written relation.name is one only
	// where name is an effectful function of pg_catalog.
	Field
)

// Arg is one argument of a Call, as far as it is known before execution.
type Arg struct {
	Name string // of named notation, else ""
	// Const holds the text of a constant, casts stripped. Known is false for anything else.
	Const string
	Known bool
	// String is set where Const was written in quotes, so that '42' and 42 differ.
	String bool
	// Null is set for the constant NULL, for which Known is false.
	Null bool
	// Param is n for $n, else 0.
	Param int
}

// Relation is a table, view or other relation as written; Schema is "" when unqualified.
type Relation struct{ Schema, Name string }

// Setting is a change of session configuration.
type Setting struct {
	// Name of the parameter, lower case. "role" and "session_authorization" are
	// parameters like any other. "" means all of them (RESET ALL, DISCARD ALL).
	Name string
	// SQL is a statement that repeats the change in another session, such as
	// "SET search_path TO a, b"; "" for RESET and SET .. TO DEFAULT.
	SQL string
	// Value is the new value in the form that SHOW prints it when it is constant.
	Value string
	// Local is set by SET LOCAL and set_config(.., true).
	Local bool
	// Unknown is set where the value or name depends on a parameter or an expression.
	Unknown bool
	// Params are the numbers of the parameters ($n) that name, value and locality of a
	// set_config call come from, 0 for constants. With any of them the setting is Unknown
	// until Bind; see Bound.
	Params [3]int
	// Also holds the further changes of a statement that makes several, such as
	// SELECT set_config(..), set_config(..) or SET SESSION CHARACTERISTICS.
	Also []Setting
}

// Kind names the command. See gram.y of PostgreSQL for the commands behind each.
type Kind uint8

// The kinds of statement that routing or the session's state must tell apart.
const (
	Other Kind = iota // any command not named below: VACUUM, ANALYZE, GRANT, REFRESH, REINDEX ...
	Select
	Values
	Insert
	Update
	Delete
	Merge
	CopyFrom
	CopyTo
	DDL // CREATE, ALTER, DROP, COMMENT of any object; CREATE TABLE AS and SELECT INTO
	Set
	Reset
	Show
	Begin
	Commit
	Rollback
	Savepoint
	Release
	RollbackTo
	PrepareTransaction // and COMMIT PREPARED, ROLLBACK PREPARED
	Prepare
	Execute
	Deallocate
	Declare
	Fetch // and MOVE
	Close
	Listen
	Notify
	Unlisten
	Discard
	LockTable
	Do
	CallProcedure
	Explain
	Load
	Truncate
)
