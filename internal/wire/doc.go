// Package wire moves PostgreSQL messages between sockets without decoding them.
//
// A message of the frontend/backend protocol, version 3, is a type byte, a
// length of four bytes that counts itself, and a body (PostgreSQL documentation,
// "Message Formats"). Everything pgshunt forwards is moved as such frames: the
// header is read, the body is not, and adjacent whole messages leave in one
// write. A message larger than the buffer passes in pieces, so that the size of
// a message is never the size of an allocation.
//
// Four types do it:
//
//   - Conn is a socket. A plain one joins a Loop, a TLS connection is read by a
//     goroutine of its own.
//   - Loop serves many sockets from one epoll set and calls their handlers; a
//     handler that must wait makes another goroutine lead the Loop first
//     (docs/decisions/0007-loops.md).
//   - Reader walks the messages of a Conn. It owns a buffer only while it holds
//     bytes: an idle connection has none.
//   - Writer gathers small messages into one write and passes large ones through.
//
// None of them may be used by two goroutines at once, with exceptions: Close, Wake, HungUp
// and the deadline setters of a Conn may be called at any time, and reading and
// writing of one Conn are independent of each other.
package wire
