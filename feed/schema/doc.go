// Package schema deals with definitions: it brings what tables need from the primary to
// a replica, and tells where the two differ.
//
// Definitions are written by pg_dump, of the primary's version or a later one, which has
// to be installed beside pgshunt together with pg_restore. It logs in through a Unix
// socket of this process ([program.Socket]), so it needs no password. Two archives are made of
// every table's surroundings: one without any relation, which asks for no privilege
// beyond the catalogs, and one of the fed tables. What is taken from them is chosen by
// their lists of entries and by pg_depend of the primary, and what the replica has
// already, as its own catalogs tell, is left out.
package schema
