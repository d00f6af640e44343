package logical

import (
	"context"
	"fmt"
)

// unsteadyQuery lists the tables of $1 that are divided by the hash of a value which another
// server hashes differently: an enum's value is hashed by its OID, wherever in a value it
// is, and a text of a collation that is not deterministic by ICU's key, which is that of
// its version. What such a key consists of is followed through arrays, domains and composites.
const unsteadyQuery = `WITH RECURSIVE divided AS (
		SELECT p.partrelid, a.attname, a.atttypid, a.attcollation FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs::int2[])
		WHERE p.partstrat = 'h' AND p.partrelid = ANY ($1)),
	part(partrelid, attname, type) AS (
		SELECT partrelid, attname, atttypid FROM divided
		UNION SELECT p.partrelid, p.attname, inner_type FROM part p JOIN pg_type t ON t.oid = p.type CROSS JOIN LATERAL (
			SELECT t.typelem WHERE t.typelem <> 0 UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
			UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
			UNION ALL SELECT f.atttypid FROM pg_attribute f WHERE f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped) i(inner_type))
	SELECT n.nspname || '.' || c.relname, min(u.attname::text) FROM (
		SELECT p.partrelid, p.attname FROM part p JOIN pg_type t ON t.oid = p.type WHERE t.typtype = 'e'
		UNION ALL SELECT d.partrelid, d.attname FROM divided d JOIN pg_collation k ON k.oid = d.attcollation WHERE NOT k.collisdeterministic) u
	JOIN pg_class c ON c.oid = u.partrelid JOIN pg_namespace n ON n.oid = c.relnamespace GROUP BY 1 ORDER BY 1`

// checkHashes refuses tables whose rows the replica would look for in another partition than
// the primary: they come to it leaf by leaf, and it refuses a row that is in the wrong one.
func (s *session) checkHashes(ctx context.Context, p *problems, all []*table) error {
	var oids []uint32
	for _, t := range all {
		if t.Kind == 'p' {
			oids = append(oids, t.OID)
		}
	}
	rows, err := s.primary.Query(ctx, unsteadyQuery, oids)
	if err != nil {
		return s.failed(s.run.Primary, "look at partitions", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, column string
		if err := rows.Scan(&name, &column); err != nil {
			return s.failed(s.run.Primary, "look at partitions", err)
		}
		p.block("hash_partitions", fmt.Sprintf("%s is divided by the hash of %s, which is another one on another server, so that its rows would be in the wrong partitions there", name, column),
			"", "leave it out by '!"+name+"' in tables, or divide it by LIST, or by the hash of another column; feed: fdw can have it")
	}
	return s.failed(s.run.Primary, "look at partitions", rows.Err())
}
