package schema

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"pgshunt/configs"
	"pgshunt/feed"
	"pgshunt/internal/pgtest"
	"pgshunt/testdata/feeds"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// bed is a database on each of the two shared servers, and what was told of the work on them.
type bed struct {
	*feed.Run
	primary, replica *pgx.Conn
	events           []feed.Event
}

func newBed(t *testing.T, change func(*configs.Replica)) *bed {
	t.Helper()
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	at, on := primary.NewDatabase(t), replica.NewDatabase(t)
	cfg := configs.Default()
	cfg.Primary.URL = configs.URL(primary.URL(primary.Superuser(), at))
	r := configs.Replica{Name: "ml1", Server: configs.Server{URL: configs.URL(replica.URL(replica.Superuser(), on))}, Feed: configs.FeedDump}
	if change != nil {
		change(&r)
	}
	cfg.Replicas = []configs.Replica{r}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	b := &bed{primary: primary.Super(t, at), replica: replica.Super(t, on)}
	var err error
	if b.Run, err = feed.Open(cfg, "ml1", feed.Options{Sink: func(e feed.Event) { b.events = append(b.events, e) }}); err != nil {
		t.Fatal(err)
	}
	return b
}

// awkward are the tables of testdata that both servers know.
func (b *bed) awkward() string {
	return feeds.Awkward(b.primary.PgConn().ParameterStatus("server_version"), b.replica.PgConn().ParameterStatus("server_version"))
}

func (b *bed) tables(t *testing.T) []*feed.Table {
	t.Helper()
	tables, err := feed.Tables(context.Background(), b.primary, b.Selection.Has)
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// bring calls Bring, twice: the second time there is nothing left to do.
// same checks that a query of texts has one answer on both servers.
func (b *bed) same(t *testing.T, query string) {
	t.Helper()
	var want, got []string
	if err := b.primary.QueryRow(t.Context(), query).Scan(&want); err != nil {
		t.Fatal(err)
	}
	if err := b.replica.QueryRow(t.Context(), query).Scan(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func (b *bed) bring(t *testing.T, need Need) {
	t.Helper()
	for range 2 {
		b.events = nil
		if err := Bring(context.Background(), b.Run, b.tables(t), need); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range b.events {
		if e.Status != feed.StatusSkip {
			t.Errorf("the second time: %+v", e)
		}
	}
}

// definitions describes the tables of a server, what hangs on them and the types around. NOT NULL
// is told with its column, since it is a constraint only from PostgreSQL 18 on, unless somebody has named it; what a foreign key
// has for each partition that it references is named by the server, in another way since 18.
const definitions = `SELECT array_agg(line ORDER BY line) FROM (
	SELECT 'column ' || c.oid::regclass || ' ' || (SELECT count(*) FROM pg_attribute b WHERE b.attrelid = c.oid AND b.attnum BETWEEN 1 AND a.attnum AND NOT b.attisdropped) || a.attname || ' '
		|| format_type(a.atttypid, a.atttypmod) || a.attnotnull || a.attidentity::text || a.attgenerated::text || a.attstorage::text || a.attcollation::regcollation || coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS line
		FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'c') AND a.attnum > 0 AND NOT a.attisdropped
	UNION ALL SELECT 'table ' || oid::regclass || relkind::text || relpersistence::text || relreplident::text || relrowsecurity || coalesce(pg_get_expr(relpartbound, oid), '')
		|| coalesce(pg_get_partkeydef(oid), '') || coalesce(obj_description(oid, 'pg_class'), '') FROM pg_class WHERE oid >= 16384 AND relkind IN ('r', 'p')
	UNION ALL SELECT 'index ' || pg_get_indexdef(indexrelid) || indisvalid || indisreplident || coalesce((SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = indexrelid), '')
		FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE indrelid >= 16384 AND relkind IN ('r', 'p')
	UNION ALL SELECT 'constraint ' || coalesce(nullif(conrelid, 0)::regclass::text, contypid::regtype::text) || conname || pg_get_constraintdef(oid) || convalidated FROM pg_constraint c WHERE oid >= 16384
		AND NOT (contype = 'n' AND convalidated AND conname LIKE '%\_not\_null') AND NOT EXISTS (SELECT FROM pg_constraint p WHERE p.oid = c.conparentid AND p.conrelid = c.conrelid)
	UNION ALL SELECT 'type ' || oid::regtype || typtype::text || coalesce((SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid), '') FROM pg_type t WHERE oid >= 16384 AND typtype IN ('e', 'd', 'r')
	UNION ALL SELECT 'sequence ' || seqrelid::regclass || seqtypid::regtype || seqincrement || coalesce((SELECT refobjid::regclass || deptype::text || refobjsubid FROM pg_depend
		WHERE classid = 'pg_class'::regclass AND objid = seqrelid AND deptype IN ('a', 'i') AND refclassid = 'pg_class'::regclass), '') FROM pg_sequence
	UNION ALL SELECT 'policy ' || polname || polrelid::regclass || polcmd::text || coalesce(pg_get_expr(polqual, polrelid), '') FROM pg_policy
	UNION ALL SELECT 'statistics ' || pg_get_statisticsobjdef(oid) FROM pg_statistic_ext
	UNION ALL SELECT 'function ' || oid::regprocedure || prosrc FROM pg_proc WHERE oid >= 16384 AND pronamespace::regnamespace::text <> 'pgml'
	UNION ALL SELECT 'grant ' || oid::regclass || p.privilege_type || p.grantee::regrole FROM pg_class, aclexplode(relacl) p WHERE oid >= 16384 AND p.grantee <> relowner
) d WHERE line !~ 'pgml' AND line !~ $1`

func describe(t *testing.T, conn *pgx.Conn, except string) (lines []string) {
	t.Helper()
	if err := conn.QueryRow(context.Background(), definitions, except).Scan(&lines); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestDefinitionsAreThePrimarys(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, b.awkward())
	exec(t, b.primary, `CREATE STATISTICS shop.st ON day, country FROM shop.visits_2025; COMMENT ON COLUMN shop.wide.c1 IS 'first'; COMMENT ON INDEX shop.orders_vat IS E'a\nb';
		CREATE SEQUENCE shop.shared; ALTER TABLE shop.wide ALTER c4 SET DEFAULT nextval('shop.shared')`)
	b.bring(t, Tables)
	b.bring(t, Indexes)
	// The function of a trigger and views are not of a feed.
	if diff := cmp.Diff(describe(t, b.primary, `function shop.audit\(\)|^column (shop.items|shop.spent)`), describe(t, b.replica, "^$")); diff != "" {
		t.Error(diff)
	}
	var triggers int
	if err := b.replica.QueryRow(context.Background(), "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal AND tgrelid::regclass::text LIKE 'shop.%'").Scan(&triggers); err != nil || triggers != 0 {
		t.Errorf("%d triggers: %v", triggers, err)
	}
}

func TestOnlyWhatIsFedIsBrought(t *testing.T) {
	b := newBed(t, func(r *configs.Replica) {
		r.Tables = configs.Patterns{"public.*", "!other"}
		r.Columns = map[string][]string{"public.people": {"id", "town", "at"}}
	})
	for _, conn := range []*pgx.Conn{b.primary, b.replica} {
		exec(t, conn, `DO $$ BEGIN IF to_regrole('test_reader') IS NULL THEN CREATE ROLE test_reader; END IF; END $$`)
	}
	t.Cleanup(func() {
		for _, conn := range []*pgx.Conn{b.primary, b.replica} {
			exec(t, conn, `DROP OWNED BY test_reader; DROP ROLE test_reader; DROP ROLE IF EXISTS test_nowhere`)
		}
	})
	exec(t, b.primary, `CREATE ROLE test_nowhere; CREATE TYPE unused AS ENUM ('a'); CREATE TYPE used AS ENUM ('a'); CREATE TABLE other (id int PRIMARY KEY);
		CREATE TABLE people (id int, town used, secret text, at date NOT NULL, PRIMARY KEY (id, at), UNIQUE (secret, at), CHECK (secret <> town::text)) PARTITION BY RANGE (at);
		CREATE TABLE people_1 PARTITION OF people DEFAULT; CREATE INDEX by_secret ON people (secret); CREATE INDEX by_town ON people (town);
		CREATE TABLE pets (id int PRIMARY KEY, o int REFERENCES other, p int, d date, FOREIGN KEY (p, d) REFERENCES people);
		GRANT SELECT ON people TO test_reader, test_nowhere; GRANT UPDATE (secret, town) ON people TO test_reader; ALTER TABLE people ENABLE ROW LEVEL SECURITY;
		CREATE POLICY for_reader ON people TO test_reader USING (true); CREATE POLICY for_nobody ON people TO test_nowhere USING (true); CREATE POLICY by_secret ON people USING (secret = 'x')`)
	exec(t, b.replica, `ALTER DEFAULT PRIVILEGES GRANT INSERT, SELECT ON TABLES TO test_reader`) // it is not the replica's to say
	b.bring(t, Indexes)
	exec(t, b.primary, `DROP TABLE other CASCADE; DROP TYPE unused; ALTER TABLE people DROP COLUMN secret CASCADE; DROP OWNED BY test_nowhere`)
	if diff := cmp.Diff(describe(t, b.primary, "^$"), describe(t, b.replica, "^$")); diff != "" {
		t.Error(diff)
	}
}

func TestTheOwnerOnThePrimaryMayReadTheReplica(t *testing.T) {
	b := newBed(t, nil)
	for _, conn := range []*pgx.Conn{b.primary, b.replica} {
		exec(t, conn, `CREATE ROLE test_owner`)
	}
	t.Cleanup(func() {
		for _, conn := range []*pgx.Conn{b.primary, b.replica} {
			exec(t, conn, `DROP OWNED BY test_owner CASCADE; DROP ROLE test_owner`)
		}
	})
	exec(t, b.primary, `CREATE SCHEMA s AUTHORIZATION test_owner; CREATE TABLE s.t (id int PRIMARY KEY); ALTER TABLE s.t OWNER TO test_owner`)
	b.bring(t, Indexes)
	var may bool
	if err := b.replica.QueryRow(context.Background(), `SELECT has_table_privilege('test_owner', 's.t', 'SELECT') AND has_schema_privilege('test_owner', 's', 'USAGE')
		AND NOT has_table_privilege('test_owner', 's.t', 'INSERT')`).Scan(&may); err != nil || !may {
		t.Errorf("%v, %v", may, err)
	}
}

func TestTypesComeWithoutTables(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, b.awkward())
	b.bring(t, Types)
	exec(t, b.primary, `DROP SCHEMA "Mixed Case" CASCADE; DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'shop'::regnamespace AND NOT relispartition
		LOOP IF EXISTS (SELECT FROM pg_class WHERE oid = t) THEN EXECUTE 'DROP TABLE ' || t || ' CASCADE'; END IF; END LOOP; END $$; DROP FUNCTION shop.audit`)
	if diff := cmp.Diff(describe(t, b.primary, "^$"), describe(t, b.replica, "^$")); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsThereIsLeftAlone(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE one (id int PRIMARY KEY, m mood); CREATE TABLE two (id serial PRIMARY KEY, m mood, one int REFERENCES one);
		CREATE TABLE part (id int, at date, CONSTRAINT own_name PRIMARY KEY (id, at)) PARTITION BY RANGE (at); CREATE TABLE part_1 (id int NOT NULL, at date NOT NULL, CONSTRAINT another PRIMARY KEY (id, at));
		ALTER TABLE part ATTACH PARTITION part_1 DEFAULT`)
	exec(t, b.replica, `CREATE TYPE mood AS ENUM ('z'); CREATE TABLE one (id bigint PRIMARY KEY); CREATE TABLE part (id int, at date, CONSTRAINT own_name PRIMARY KEY (id, at)) PARTITION BY RANGE (at)`)
	b.bring(t, Indexes)
	got := strings.Join(describe(t, b.replica, "^$"), "\n")
	for _, want := range []string{"type mood" + "ez", "column one 1id bigint", "constraint two" + "two_one_fkey", "table part_1rpdfalseDEFAULT"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not there:\n%s", want, got)
		}
	}
}

func TestAnExtensionThatIsNotInstalledIsNamed(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, `CREATE EXTENSION pg_trgm; CREATE TABLE t (x text); CREATE INDEX ON t USING gin (x gin_trgm_ops)`)
	b.bring(t, Indexes)
	var have bool
	if err := b.replica.QueryRow(context.Background(), "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm')").Scan(&have); err != nil || !have {
		t.Fatalf("the extension was not made: %v", err)
	}
	own := newBed(t, nil)
	err := (&bringing{run: own.Run, target: own.replica}).available(context.Background(), []string{"pg_trgm", "nowhere"})
	if err == nil || !strings.Contains(err.Error(), "the tables need nowhere, which") {
		t.Errorf("%v", err)
	}
}

func TestPrintedOnly(t *testing.T) {
	b := newBed(t, nil)
	exec(t, b.primary, b.awkward())
	b.Print = true
	if err := Bring(context.Background(), b.Run, b.tables(t), Indexes); err != nil {
		t.Fatal(err)
	}
	if got := describe(t, b.replica, "^$"); got != nil {
		t.Errorf("%v", got)
	}
	var sql strings.Builder
	for _, e := range b.events {
		sql.WriteString(e.SQL)
	}
	for _, want := range []string{"CREATE TYPE shop.mood", "CREATE TABLE shop.types", "ADD CONSTRAINT lines_order_id_fkey"} {
		if !strings.Contains(sql.String(), want) {
			t.Errorf("%q is not among what would be done:\n%s", want, sql.String())
		}
	}
}
