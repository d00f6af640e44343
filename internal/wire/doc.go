// Package wire moves PostgreSQL messages between sockets without decoding them.
//
// A message of the frontend/backend protocol, version 3, is a type byte, a
// length of four bytes that counts itself, and a body (PostgreSQL documentation,
// "Message Formats"). Everything pgshunt forwards is moved as such frames: the
// header is read, the body is not, and adjacent whole messages leave in one
// write. A message larger than the buffer passes in pieces, so that the size of
// a message is never the size of an allocation.
//
// Three types do it:
//
//   - Conn is a socket. On Linux a plain TCP or Unix socket is read and written
//     by direct non-blocking system calls, and its goroutine parks in the
//     runtime's poller only when the kernel has nothing to give or no room to
//     take (docs/decisions/0007-direct-system-calls.md). Other connections, TLS
//     above all, go through net.Conn. Callers cannot tell which.
//   - Reader walks the messages of a Conn. It owns a buffer only while it holds
//     bytes: a Reader parked on an idle connection has none.
//   - Writer gathers small messages into one write and passes large ones through.
//
// None of them may be used by two goroutines at once, with one exception: Close
// and the deadline setters of a Conn may be called at any time, and reading and
// writing of one Conn are independent of each other.
package wire
