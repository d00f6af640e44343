package dump

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/configs"
)

// What people have made on the replica over a fed table and on it.
const local = `
	CREATE ROLE %[1]s_reader; CREATE TABLE mine (id int PRIMARY KEY, o bigint REFERENCES shop.orders ON DELETE SET NULL); INSERT INTO mine VALUES (1, 5);
	CREATE VIEW large WITH (security_barrier) AS SELECT o.id, l.item FROM shop.orders o JOIN shop.lines l ON l.order_id = o.id WHERE amount > 20;
	CREATE VIEW larger AS SELECT * FROM large; CREATE MATERIALIZED VIEW sums AS SELECT customer, sum(amount) AS total FROM shop.orders GROUP BY 1;
	CREATE UNIQUE INDEX ON sums (customer); CREATE VIEW over_sums AS SELECT max(total) AS m FROM sums; GRANT SELECT ON sums, large TO %[1]s_reader;
	CREATE INDEX local_index ON shop.orders (placed); GRANT SELECT ON shop.orders TO %[1]s_reader; GRANT UPDATE (amount) ON shop.orders TO %[1]s_reader;
	ALTER TABLE shop.codes ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON shop.codes FOR SELECT TO %[1]s_reader USING (EXISTS (SELECT FROM shop.orders WHERE id = 1));
	ALTER TABLE mine ENABLE ROW LEVEL SECURITY; CREATE POLICY q ON mine USING (id IN (SELECT id FROM shop.orders));
	CREATE FUNCTION count_me() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER tr BEFORE INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION count_me();
	ALTER TABLE shop.orders DISABLE TRIGGER tr; COMMENT ON TABLE shop.orders IS 'ours'; COMMENT ON INDEX shop.local_index IS 'too';
	CREATE STATISTICS shop.st ON customer, amount FROM shop.orders; ALTER TABLE shop.orders SET (fillfactor = 80); ALTER TABLE shop.orders ALTER customer SET STATISTICS 7, ALTER customer SET (n_distinct = 9, n_distinct_inherited = -0.5);
	ALTER TABLE shop.log REPLICA IDENTITY NOTHING; CREATE PUBLICATION pub FOR TABLE shop.orders%[2]s, shop.lines;
	CREATE RULE r AS ON DELETE TO mine DO ALSO UPDATE shop.log SET n = 0;`

// Functions whose body is known to depend on a table came with 14, publications of some
// columns and rows with 15.
const (
	localSince14   = `CREATE FUNCTION newest() RETURNS bigint BEGIN ATOMIC SELECT max(id) FROM shop.orders; END`
	localSince15   = ` (id, amount) WHERE (amount > 1)`
	publications15 = ` || coalesce(attnames::text, '') || coalesce(rowfilter, '')`
)

// belongings describes all of that, with what tells of a publication.
const belongings = `SELECT array_agg(line ORDER BY line) FROM (
	SELECT 'view ' || oid::regclass || relkind::text || coalesce(reloptions::text, '') || pg_get_viewdef(oid) AS line FROM pg_class WHERE relkind IN ('v', 'm') AND relnamespace = 'public'::regnamespace
	UNION ALL SELECT 'acl ' || oid::regclass || relacl::text FROM pg_class WHERE relacl IS NOT NULL AND oid >= 16384
	UNION ALL SELECT 'column acl ' || attrelid::regclass || attacl::text FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid >= 16384
	UNION ALL SELECT 'index ' || pg_get_indexdef(indexrelid) || coalesce(obj_description(indexrelid, 'pg_class'), '') FROM pg_index WHERE indrelid >= 16384
	UNION ALL SELECT 'constraint ' || conrelid::regclass || pg_get_constraintdef(oid) || convalidated FROM pg_constraint WHERE conrelid >= 16384
	UNION ALL SELECT 'policy ' || polname || polrelid::regclass || pg_get_expr(polqual, polrelid) || polroles::regrole[]::text FROM pg_policy
	UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
	UNION ALL SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'
	UNION ALL SELECT 'statistics ' || pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
	UNION ALL SELECT 'table ' || oid::regclass || relpersistence::text || relreplident::text || relrowsecurity || coalesce(reloptions::text, '') || coalesce(obj_description(oid, 'pg_class'), '') || relowner::regrole
		FROM pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384
	UNION ALL SELECT 'column ' || attrelid::regclass || attname || attstattarget FROM pg_attribute WHERE attrelid >= 16384 AND attnum > 0 AND attstattarget >= 0
	UNION ALL SELECT 'option ' || attrelid::regclass || attname || o FROM pg_attribute, unnest(attoptions) o WHERE attrelid >= 16384 AND o !~ '^pg_attver='
	UNION ALL SELECT 'publication ' || tablename%s FROM pg_publication_tables
	UNION ALL SELECT 'sequence ' || oid::regclass || pg_get_userbyid(relowner) FROM pg_class WHERE relkind = 'S' AND oid >= 16384
	UNION ALL SELECT 'rule ' || pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename <> '_RETURN' AND ev_class >= 16384) b WHERE line !~ 'pgml|pg_toast'`

func TestWhatHangsOnATableFollows(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"shop.*", "!scratch"} })
	exec(t, b.primary, b.awkward())
	b.refresh(t)
	role := b.replica.Config().Database
	t.Cleanup(func() { exec(t, b.replica, "DROP OWNED BY "+role+"_reader; DROP ROLE "+role+"_reader") })
	version, err := versionOf(context.Background(), b.replica)
	if err != nil {
		t.Fatal(err)
	}
	var published, describePublished string
	if version >= 150000 {
		published, describePublished = localSince15, publications15
	}
	exec(t, b.replica, fmt.Sprintf(local, role, published))
	// As PostgreSQL 17.12 does by itself.
	exec(t, b.replica, `SET allow_system_table_mods = on; UPDATE pg_attribute SET attoptions = array_prepend('pg_attver=22', attoptions)
		WHERE attrelid = 'shop.orders'::regclass AND attnum > 0 AND coalesce(array_to_string(attoptions, ' '), '') !~ 'pg_attver'`)
	have := map[string]string{
		"SELECT count(*) FROM larger": "300", "SELECT count(*) FROM sums": "1",
		"SELECT count(*) FROM pg_depend WHERE objid::regclass::text = 'shop.orders_number_seq' AND refobjid = 'shop.orders'::regclass": "1",
	}
	if version >= 140000 {
		exec(t, b.replica, localSince14)
		have["SELECT newest()"] = "100"
	}
	describe := fmt.Sprintf(belongings, describePublished)
	var before, after []string
	if err := b.replica.QueryRow(context.Background(), describe).Scan(&before); err != nil {
		t.Fatal(err)
	}
	exec(t, b.primary, "UPDATE shop.orders SET amount = amount + 1000, customer = 1")
	b.refresh(t)
	if err := b.replica.QueryRow(context.Background(), describe).Scan(&after); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
	have["SELECT m FROM over_sums"] = value(t, b.primary, "SELECT sum(amount) FROM shop.orders")
	for sql, want := range have {
		if got := value(t, b.replica, sql); got != want {
			t.Errorf("%s: %s, want %s", sql, got, want)
		}
	}
	b.tidy(t)
}

func TestWhatCannotFollowStopsTheSwap(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) { r.Tables = configs.Patterns{"public.a"} })
	exec(t, b.primary, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
	b.refresh(t)
	exec(t, b.replica, "CREATE FUNCTION whole(a) RETURNS int LANGUAGE sql AS 'SELECT 1'")
	exec(t, b.primary, "INSERT INTO a VALUES (2)")
	err := Refresh(context.Background(), b.Run)
	if err == nil || !strings.Contains(err.Error(), "function public.whole(a) depends on type a") {
		t.Errorf("%v", err)
	}
	if got := value(t, b.replica, "SELECT count(*) FROM a"); got != "1" {
		t.Errorf("%s rows", got)
	}
	b.tidy(t)
	exec(t, b.replica, "DROP FUNCTION whole(a)")
	b.refresh(t)
	b.equal(t)
}
