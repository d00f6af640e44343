// Package pgtest gives tests real PostgreSQL servers.
//
// A package that needs them shares one of each kind:
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestRouting(t *testing.T) {
//		primary, ml := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
//		mark := ml.Mark(t)
//		...
//		ml.WaitStatement(t, mark, "pgml.predict")
//	}
//
// A test that changes a server, or breaks it, has its own: [Primary], [Replica],
// [Standby].
// Every statement that reaches a server is in its log, so that tests can ask
// which server was given what. When a test fails, the end of the log of each
// server that it used is printed.
//
// Without PostgreSQL binaries tests fail and say what to install; they never
// skip.
package pgtest
