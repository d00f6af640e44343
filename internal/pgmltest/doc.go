// Package pgmltest holds the tests of what pgshunt takes for granted about
// PostgresML, and so the tests of the stand-in in testdata/pgml.
//
// By default they run against the stand-in. With PGSHUNT_TEST_PGML_URL set to a
// superuser's connection string for a real PostgresML server, the same tests run
// there; what can only be true of the stand-in is then left out. They make
// projects, tables and roles with names of their own and remove what they can.
package pgmltest
