// Package hba reads a file in the form of PostgreSQL's pg_hba.conf and finds the
// line that applies to a client.
//
//	rules, err := hba.Parse("pg_hba.conf", data, os.ReadFile) // err names every bad line
//	rule := rules.Match(hba.Request{...})                     // the first that matches, nil if none does
//
// What is taken from PostgreSQL 16 as it is: tokens, quotes, comments, lines that
// go on after a backslash, lists, @files, /regular expressions, all, sameuser,
// replication, addresses with a prefix length or a mask, samehost, samenet, and
// the option clientcert. Regular expressions have Go's syntax (RE2).
//
// What a proxy cannot know is refused and never guessed: who belongs to a role
// (samerole, +role), names of hosts, user maps, and the methods that ask somebody
// else. Lines of type local are read and never match, since pgshunt has no Unix
// socket; neither do hostgssenc lines.
package hba
