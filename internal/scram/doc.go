// Package scram is SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) as
// PostgreSQL speaks them, both sides, on verifiers instead of passwords.
//
// A Verifier is what pg_authid keeps. It checks a client, and it cannot log in
// anywhere. The client's own proof, once it is right, gives away the ClientKey:
// Key.Client then logs in wherever the same verifier is stored, so that a proxy
// needs no password. That key is as good as the password for those servers. It is
// kept in memory only, and no type here prints it.
//
// The package is ours, and not a library's, because none hands out that key or
// accepts it in place of a password.
package scram
