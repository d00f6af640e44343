// Package plan measures the primary and the replicas and recommends a way to feed each of
// them: what `pgshunt feed plan` prints. It changes nothing on any server.
//
//	look        facts of one server: version, role, settings, who runs it
//	churn       how fast the tables change, by two looks at the statistics or since their reset
//	surroundings  what tables need besides themselves: extensions, types, collations
//	fit         whether the replica can have all that
//	recommend   sizes and change rate -> a way, with reasons (pure)
//	estimate    how long it takes and what room it needs (pure)
//
// What stands against a way is said by the Check of that way, so that there is one truth;
// this package adds what concerns every way.
package plan
