// Package proxy speaks PostgreSQL's protocol with clients and moves their
// statements to the servers where they belong.
//
// # The path of a query
//
// Server accepts a connection; startup (startup.go) brings it past TLS, the
// startup packet, authentication (auth.go, auth_scram.go) and the welcome
// (welcome.go). From then on it is a session, and a loop of internal/wire calls
// session.Ready when its client has sent something. A Query message goes:
//
//	session.step     what has arrived is read
//	session.advance  the message is framed by wire.Reader, not decoded
//	session.query    parser.Statement(text) gives the facts, from a cache
//	session.decide   router.Decide gives the server, a rule and a reason
//	session.attach   a backend of the pool, unless the session has one
//	link.expect      the reply is put into the inflight queue
//	session.send     the message is gathered; one write when the input is used up
//
// When the answer arrives the loop calls Backend.Ready, and that session.Receive
// (relay.go). It walks headers, matches them with the inflight queue, and writes
// whole runs of messages to the client. With the ReadyForQuery that leaves the
// session outside a transaction and owing nothing, the backend goes back to its
// pool. Neither side ever waits for the other on this path.
//
// Where a session does wait (session.wait, waitFor, a full socket), it blocks its
// turn first: its goroutine is then its own until the call returns. "The session's
// goroutine" in comments is whichever goroutine runs session.Ready at the moment;
// "the backend's" is whichever runs Backend.Ready. With TLS both are real ones.
//
// # What else there is
//
//   - A message of the extended protocol is placed by its statement or portal
//     (extended.go), so a batch may run on more than one server; answers come in
//     order because the session turns to another server only when it is quiet
//     (attach.go).
//   - Inference in a transaction runs on a replica beside it. Its ReadyForQuery is
//     made here, with the transaction's status; if it fails, the primary's
//     transaction is made to fail too (session.finishFailed).
//   - A READ ONLY transaction may follow a replica, in a block there beside its own (follow.go).
//   - Prepared statements have names of ours on servers and are prepared where
//     they are missing (names.go), or out of date (again.go, models.go). Those that
//     SQL names keep the client's names, which are made to mean what the session means
//     by them before SQL is sent that uses them (sqlnames.go, lend.go).
//   - Settings belong to the session (state.go) and are replayed when a backend is
//     attached; startup_settings.go has those the client connected with, bound.go
//     those whose values come with Bind.
//   - What cannot be carried pins the session to its backend, until the server says
//     that nothing of it is left (pins.go).
//   - A read that must not miss what the session has written waits for its replica
//     (fresh.go); a replica that is not there is replaced (reach.go), and so is one that
//     is lost before it has begun to answer (elsewhere.go). Nothing else runs twice.
//   - The policy and the snapshot of the servers are replaced together (fleet.go); a decision
//     goes by the servers that it was made for.
//   - A rule's timeout is the server's own statement_timeout for as long as its statements
//     run (curb.go).
//   - A connection for replication has a server process of its own and is passed
//     through as it is (replication.go).
//   - A client that goes away while its session waits is noticed by its socket (watch.go). A
//     training may go on without it (unattended.go).
//   - A cancel key is ours, never a server's (cancel.go). One of another instance is
//     passed on to that one (peers.go).
//
// Everything that both goroutines of a session touch is guarded by link.mu, and
// no lock is held across a read or write of a socket.
package proxy
