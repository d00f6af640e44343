// Package fdw feeds a replica through foreign tables: what is read there is read on the
// primary, at that moment.
//
// # What is made
//
// On the replica: extension postgres_fdw, a foreign server named after the feed with a user
// mapping, and for every fed table a foreign table of the same schema and name, so that the
// relation_name of a training is what it is on the primary. Schemas, types and what they need
// are brought before (package schema). Foreign tables have no defaults and compute nothing:
// generated columns are read. Partitioned tables are one foreign table, and their partitions others.
//
// All that the replica needs to reach the primary is made in one transaction, in which the
// replica also logs in to the primary. A wrong password leaves nothing. Each further step is a
// transaction, or can be repeated.
//
// The server's comment names the primary by its system identifier. What bears the feed's name and
// reads another primary, or was made by hand, is another's: every command refuses it and says how
// to get out of that.
//
// # Whose rights
//
// The foreign tables read the primary as one role, that of replicas[].source, as a
// subscription does. That is decided by whoever writes the configuration, and that role is to
// have no more than the right to read the fed tables; Check writes the statements. Who may
// read through it on the replica is decided as with any table, by the right to SELECT, which
// the roles of the replica get that have it on the primary. So the mapping is for PUBLIC: it
// gives nobody anything without that right. Only the owner may use the server for other
// tables. fdw.users makes mappings for some roles instead.
//
// Row-level security does not reach through: of tables that have it only the owner gets the
// right to read, and pgshunt sends no reads of them there.
//
// The mapping has the password, in pg_user_mapping, which only the owner of the server and
// superusers can read. It is in no text of a statement (see [feed.Run.DoSecretly]). Without a
// password the mapping says password_required 'false', which only a superuser may do.
//
// # What it does to the primary
//
// Everything is read only: the sessions on the primary are, tables are neither updatable nor
// truncatable. fdw.statement_timeout bounds each query there, which is each fetch of
// fetch_size rows. A transaction that has read a foreign table keeps one open on the primary
// until it ends, which a training does when the model is finished: until then vacuum there
// keeps what that may see, and if the primary ends it meanwhile (idle_in_transaction_session_timeout)
// the training is lost. pgml.snapshot in a transaction of its own before, or a copy
// (fdw.materialize), avoids both; materialize_snapshot within the training does not.
//
// # In which order
//
// ORDER BY of texts may be left to the primary, as postgres_fdw holds collations of one name for
// one. Where the servers' libraries are of other versions they may sort differently: Check says so.
//
// # Copies
//
// The tables of fdw.materialize are copied by package dump, under one snapshot and swapped in
// at once, in place of the foreign tables of the same names. Refresh brings them anew. They are
// in pgshunt.copies, by which the router knows their age; what reads none of them is live.
//
// Statistics are taken where the table is small, or the replica has PostgreSQL 16 or later,
// which takes a sample; before, ANALYZE reads the whole of a foreign table.
package fdw
