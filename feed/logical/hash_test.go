package logical

import (
	"slices"
	"strings"
	"testing"

	"pgshunt/configs"
)

// A server hashes an enum's value by a number of its own. Tables that are divided by that are
// refused, those by other hashes are fed.
func TestTablesDividedByAHashOfTheServersOwnAreRefused(t *testing.T) {
	r := newRig(t, func(c *configs.Replica) { c.Tables = configs.Patterns{"public.*"} })
	// OIDs of the replica are not to be those of the primary by chance.
	r.replica.Exec(t, "CREATE TYPE unlike AS ENUM ('a', 'b', 'c')")
	r.primary.Exec(t, `CREATE TYPE mood AS ENUM ('sad', 'so so', 'glad'); CREATE DOMAIN moods AS mood[]; CREATE TYPE two AS (n int, m mood);
		CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		CREATE TABLE by_enum (m mood PRIMARY KEY) PARTITION BY HASH (m);
		CREATE TABLE within (m moods PRIMARY KEY) PARTITION BY HASH (m);
		CREATE TABLE loosely (v text COLLATE loose PRIMARY KEY) PARTITION BY HASH (v);
		CREATE TABLE by_text (v text PRIMARY KEY) PARTITION BY HASH (v);
		CREATE TABLE listed (m mood PRIMARY KEY) PARTITION BY LIST (m);
		CREATE TABLE by_text_0 PARTITION OF by_text FOR VALUES WITH (MODULUS 2, REMAINDER 0);
		CREATE TABLE by_text_1 PARTITION OF by_text FOR VALUES WITH (MODULUS 2, REMAINDER 1);
		CREATE TABLE listed_sad PARTITION OF listed FOR VALUES IN ('sad');
		CREATE TABLE listed_rest PARTITION OF listed DEFAULT;
		INSERT INTO by_text SELECT 'v' || i FROM generate_series(1, 50) i; INSERT INTO listed VALUES ('sad'), ('glad')`)
	// Composite types have hashes since PostgreSQL 14.
	want := []string{"public.by_enum", "public.composed", "public.loosely", "public.within"}
	if version(t, r.primary) >= v14 {
		r.primary.Exec(t, "CREATE TABLE composed (m two PRIMARY KEY) PARTITION BY HASH (m)")
	} else {
		want = slices.Delete(want, 1, 2)
	}
	found, err := Check(limited(t), r.run(t))
	if err != nil {
		t.Fatal(err)
	}
	var refused []string
	for _, p := range found {
		if p.Check == "hash_partitions" {
			name, _, _ := strings.Cut(p.What, " ")
			refused = append(refused, name)
		}
	}
	if !slices.Equal(refused, want) {
		t.Fatalf("refused are %q, want %q; all of it: %+v", refused, want, found)
	}
	r.cfg.Replicas[0].Tables = configs.Patterns{"public.*", "!public.by_enum", "!public.composed", "!public.loosely", "!public.within"}
	r.apply(t)
	r.primary.Exec(t, "INSERT INTO by_text SELECT 'w' || i FROM generate_series(1, 50) i")
	r.equal(t)
}
