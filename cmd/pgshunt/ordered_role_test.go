package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/internal/pgtest"
)

// What a client writes into a schema change calls no function as a role of pgshunt's, which
// may do more than the client.
func TestSchemaChangesRunNothingAsAnotherRole(t *testing.T) {
	b := startOrdered(t)
	b.primary.Exec(t, `CREATE ROLE maker LOGIN; CREATE SCHEMA own AUTHORIZATION maker; SET SESSION AUTHORIZATION maker;
		CREATE FUNCTION own.say(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE LOG 'said by %', current_user; RETURN true; END$$;
		CREATE DOMAIN own.checked AS text CHECK (own.say(VALUE));
		CREATE FUNCTION own.minus(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE LOG 'said by %', current_user; RETURN 'x'; END$$;
		CREATE OPERATOR own.- (RIGHTARG = text, FUNCTION = own.minus);
		CREATE TYPE own.mood AS ENUM ('sad');
		CREATE FUNCTION own.moody(int) RETURNS own.mood LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE LOG 'said by %', current_user; RETURN 'sad'; END$$;
		CREATE CAST (int AS own.mood) WITH FUNCTION own.moody(int) AS ASSIGNMENT;
		CREATE FUNCTION own.quote_ident(name) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE LOG 'said by %', current_user; RETURN 'x'; END$$;
		CREATE DOMAIN own.stamped AS text DEFAULT clock_timestamp()::text`)
	b.primary.Exec(t, `CREATE TABLE made (id int PRIMARY KEY); CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id);
		INSERT INTO made VALUES (0); ALTER TABLE made OWNER TO maker; ALTER TABLE parts OWNER TO maker; GRANT CREATE ON SCHEMA public TO maker`)
	b.replica.Exec(t, "CREATE TABLE made (id int PRIMARY KEY); CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY LIST (id)")
	b.feed(t, "made, parts")
	primary, replica := b.primary.Mark(t), b.replica.Mark(t)
	conn := pgtest.Connect(t, fmt.Sprintf("postgres://maker@127.0.0.1:%d/postgres?sslmode=disable&search_path=own,public,pg_catalog", b.served.port))
	for sql, want := range map[string]string{
		"ALTER TABLE items ADD c own.checked DEFAULT 'a'":                                                             "42501", // not its table
		"ALTER TABLE made ADD f own.checked DEFAULT 'a'":                                                              "",
		"ALTER TABLE made ADD h text DEFAULT ('a'::own.checked)":                                                      "", // the primary's value is fetched
		"ALTER TABLE made ADD i text DEFAULT -('a'::text)":                                                            "",
		"ALTER TABLE made ADD c own.mood DEFAULT 5":                                                                   "0A000",
		"ALTER TABLE made ADD g own.checked DEFAULT 'a'::own.checked":                                                 "",
		"ALTER TABLE made ADD j own.stamped":                                                                          "",
		"ALTER TABLE made ADD d text COLLATE \"C\" DEFAULT 'a'":                                                       "",
		"ALTER TABLE made ADD e own.mood DEFAULT 'sad'::own.mood":                                                     "",
		"CREATE TABLE part PARTITION OF parts FOR VALUES IN (length(query_to_xml('SELECT 1', true, true, '')::text))": "0A000",
	} {
		_, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
		got, pg := "", (*pgconn.PgError)(nil)
		if errors.As(err, &pg) {
			got = pg.Code
		}
		if got != want {
			t.Errorf("%s: %v, want %s", sql, err, want)
		}
	}
	for server, mark := range map[*pgtest.Server]int{b.primary: primary, b.replica: replica} {
		log, err := server.Log()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(log[mark:], "said by postgres") {
			t.Errorf("a function of the client's has run as pgshunt's role:\n%s", log[mark:])
		}
	}
	b.primary.Exec(t, "INSERT INTO made (id, e, f) VALUES (1, 'sad', 'x')")
	if !pgtest.Eventually(func() bool { return b.rows(t, b.primary, "made") == b.rows(t, b.replica, "made") }) {
		t.Errorf("the primary has %s\nthe replica %s", b.rows(t, b.primary, "made"), b.rows(t, b.replica, "made"))
	}
}

// Constants in a schema change mean on the replica what they mean in the client's session.
func TestSchemaChangesAreReadWithTheClientsSettings(t *testing.T) {
	b := startOrdered(t)
	b.primary.Exec(t, "CREATE TABLE parts (at timestamptz PRIMARY KEY, id int) PARTITION BY RANGE (at)")
	b.replica.Exec(t, "CREATE TABLE parts (at timestamptz PRIMARY KEY, id int) PARTITION BY RANGE (at)")
	b.feed(t, "parts")
	conn := b.served.connect(t)
	for _, sql := range []string{
		"SET TimeZone = 'America/New_York'", "SET DateStyle = 'ISO, DMY'",
		"CREATE TABLE january PARTITION OF parts FOR VALUES FROM ('01/02/2026') TO ('01/03/2026')",
		"INSERT INTO parts VALUES ('2026-02-01 00:00', 1), ('2026-02-28 23:59', 2)",
		"ALTER TABLE items ADD at timestamptz DEFAULT '02/01/2026 12:00', ADD d date DEFAULT '31/01/2026'",
	} {
		if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	b.equal(t, "parts", "items")
}

// feed adds tables, which both servers have, to the feed.
func (b *orderedBed) feed(t *testing.T, tables string) {
	t.Helper()
	var name string
	if err := b.super(t, b.primary).QueryRow(t.Context(), "SELECT quote_ident(pubname) FROM pg_publication").Scan(&name); err != nil {
		t.Fatal(err)
	}
	b.primary.Exec(t, "ALTER PUBLICATION "+name+" ADD TABLE "+tables)
	if _, err := b.super(t, b.replica).Exec(t.Context(), "ALTER SUBSCRIPTION "+name+" REFRESH PUBLICATION", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	ready := func() (all bool) {
		err := b.super(t, b.replica).QueryRow(t.Context(), "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel").Scan(&all)
		return err == nil && all
	}
	if !pgtest.Eventually(ready) {
		t.Fatal("the tables are not copied")
	}
}
