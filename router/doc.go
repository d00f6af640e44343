// Package router decides where one statement goes, and says why. It is pure: no IO, no
// clock, no connection, no state of its own.
//
//	policy, err := router.NewPolicy(router.Config{Reads: "replica"})
//	st := cache.Statement(text)                   // package parser
//	d := policy.Decide(st, &view, fleet)          // *View of the session, *Fleet of the servers
//	switch d.Place {
//	case router.Primary:                          // the production server
//	case router.Replica:                          // Chooser.Choose names one of d.Candidates
//	case router.Stay:                             // the backend the session has
//	case router.Refused:                          // answer d.Err
//	}
//
// # The order
//
// The first question that has an answer decides:
//
//  1. the transaction block has failed: stay, PostgreSQL answers 25P02
//  2. the text could not be parsed, or is empty: the primary
//  3. no replica is configured: the primary, whatever the statement is
//  4. EXECUTE, DEALLOCATE, FETCH, CLOSE: where the thing they name was made
//  5. in a READ ONLY transaction that follows a replica: there
//  6. in a transaction or pinned, and nothing of PostgresML in it: stay
//  7. a hint: /*+ pgshunt: replica:ml1 */ before pgshunt.route
//  8. the rules of the config, in order
//  9. the built-in rules by class: training and writes to schema pgml on the project's home replica;
//     reads that call pgml, or read what only replicas have, on a replica; DDL over pgml on a replica;
//     a write to the primary that calls pgml refused (package offload can do better);
//     writes, locks, sequences, DO, CALL and other DDL on the primary; reads as the policy says
//
// A text of several statements is one decision, since PostgreSQL runs it on one server
// and in one transaction: see several.
//
// # What counts as PostgresML
//
// A call, relation or type in schema pgml, and an object that the database's
// Catalog knows on replicas only, or knows to use PostgresML. Names without a schema follow the session's search_path:
// a function that PostgresML is known to have is pgml's if pgml is anywhere in the path,
// unless pg_catalog has it too (functions.go); a relation of its catalogue is pgml's only
// if pgml comes first, because "projects" and "models" are names applications use.
// PostgreSQL itself would look at what exists; the router cannot, and prefers to be
// predictable. Text inside strings and comments never counts.
//
// # In a transaction
//
// Inference runs beside the transaction, on a replica, since it is a function of its
// arguments. It is refused where its answer is known to be wrong (what a view reads or a trigger writes is not known here): when it reads a relation
// this transaction has written, or any relation after something whose writes cannot be seen,
// or any relation under REPEATABLE READ; or together with a function that means the
// transaction itself, such as now(). Outside a block now() and random() are nobody's
// state, and may stand beside inference. Training commits by itself (Detached) or is
// refused, as the policy says.
//
// A training call also reads the relation it names: a relation written in this
// transaction is refused there too.
//
// # Presence
//
// A Catalog says what each server has of a database. A statement goes to replicas that
// have everything it reads and calls, views and functions followed to what they use:
// present, fed, with the columns it names, under the same row-level security and no wider
// privileges. Where none has, a read without PostgresML goes to the primary, and so does
// one with it if the primary has the extension; all else is refused, with what is missing where
// and what would bring it there. A hint or rule that names a replica is believed, but not
// where more could be seen there than on the primary. Where nobody looks at servers names are believed;
// of a database that has not been looked at yet, nothing is.
//
// What a transaction writes through a view, or to a relation with triggers, rules or cascading
// foreign keys, counts as writes that cannot be seen.
//
// # Reads on replicas
//
// With Reads "replica" only what is surely a read moves: with functions of pg_catalog, or
// such as the catalog knows to be immutable, or stable with a body that was read; no system catalogs,
// no locks, nothing left behind in the session. Without a catalog an operator, cast, view
// or rule may still hide a function; with one, what PostgreSQL calls by itself is a hazard that
// a statement may meet by the types, relations and columns it has (hazard.go). Inside a transaction block reads stay, unless it is
// READ ONLY and its first read goes to a replica: from then on it follows that one (whole.go).
//
// # Freshness
//
// With MaxLag a read goes only to replicas known to be no further behind, as the snapshot
// says. What inference and training ask for is in the Decision, and the caller waits for it;
// where a replica is known to be within the bound already, only such are candidates.
//
// # Homes
//
// Each project is trained on one replica, found by rendezvous hashing of its name
// (HomeOf). Without a known project it is the first training replica of the config.
// Where the project is $n, Decision.ProjectParam says which, and SourceParam the same of the
// relation that a training reads: DecideBound settles both at Bind. A call that needs a
// project's model goes to the replicas that have it deployed; where none is known to, to the
// home, if that serves inference. Standbys load no models and train nothing.
package router
