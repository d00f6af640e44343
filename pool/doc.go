// Package pool keeps connections to servers: login, one pool per target, user
// and database, limits, waiting, and making a used connection fit for the next
// session.
//
// A Backend is one connection. It is read for as long as it lives, attached or
// idle, by a loop or a goroutine of its own, so that a server that ends a
// connection is noticed at once and nobody has to ask "are you alive" before a
// query. What is read belongs to the backend's Owner: the session it is attached
// to, or the pool while it is idle or being reset.
//
//	b, err := pools.Acquire(ctx, key)   // idle, being dialed, or waited for in order
//	if !b.Attach(session) { ... }       // from here session.Receive gets its output
//	...
//	pools.Release(b, pool.Keep)         // or Reset, Rollback, Close
//
// A backend carries labels of what its server process holds: the session
// settings (Settings) and the prepared statements (Prepared). They are how a
// session finds out what must be replayed before it may use the backend. While a
// backend is attached, only its session reads and changes the labels.
//
// This room knows nothing of clients, routing or SQL beyond the statements that
// reset a connection.
package pool
