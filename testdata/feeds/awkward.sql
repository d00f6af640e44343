-- Tables that a feed is likely to get wrong, with a few rows each. Made by the role that
-- runs it, in an empty database; run as one script. Every version from 13 on takes them: what
-- a newer one brought is in a script of its name.

CREATE SCHEMA shop;
CREATE SCHEMA "Mixed Case";

CREATE TYPE shop.mood AS ENUM ('sad', 'so so', 'glad');
CREATE DOMAIN shop.percent AS numeric(5, 2) CHECK (VALUE BETWEEN 0 AND 100);
CREATE TYPE shop.point3 AS (x real, y real, z real);
CREATE FUNCTION shop.vat(amount numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT amount * 0.19';

-- Types: enums, domains, composites, arrays, ranges, json, bytes, and what has no finite value.
CREATE TABLE shop.types (
	id bigint PRIMARY KEY,
	mood shop.mood, moods shop.mood[], share shop.percent, place shop.point3,
	tags text[], grid int[][], doc jsonb, raw json, blob bytea, span daterange,
	ip inet, mac macaddr, uid uuid, bits bit varying(8), money numeric, ratio float8, tiny real,
	at timestamptz, naive timestamp, day date, clock timetz, took interval, x xml, ts tsvector, name "char"
);
INSERT INTO shop.types VALUES
	(1, 'glad', '{sad,"so so"}', 12.5, '(1,2,3)', '{a,"b,c",NULL,""}', '{{1,2},{3,4}}', '{"k": [1, null, "ü"]}', '{ "b" : 1 }',
		'\x00ff5c27', '[2026-01-01,2026-02-01)', '10.0.0.1/8', '08:00:2b:01:02:03', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
		'10110', 12345678901234567890.123456789, 0.1, 0.1, '2026-01-01 00:00:00+02', '2026-01-01', '2026-01-01', '12:00+01', '1 mon 2 days', '<a/>', 'a:1 b:2', 'x'),
	(2, NULL, '{}', NULL, NULL, '{}', '{}', 'null', NULL, '', 'empty', '::1', NULL, NULL, '', 'NaN', 'Infinity', '-Infinity',
		'infinity', '-infinity', 'infinity', NULL, NULL, NULL, '', NULL),
	(3, 'sad', NULL, 0, '(,,)', E'{"tab\tnew\nline","back\\\\slash","quo\\"te"}', NULL, '"\u00e9"', '[]', '\x', '(,)', NULL, NULL, NULL, NULL, '-0.00', '-0', 'NaN',
		'0044-03-15 BC', '4713-01-01 BC', '5874897-12-31', NULL, '-178000000 years', NULL, NULL, NULL);

-- What the server computes: generated columns, identities, sequences, functions in defaults and checks.
CREATE TABLE shop.orders (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	number serial UNIQUE,
	customer int NOT NULL,
	amount numeric(10, 2) NOT NULL CHECK (shop.vat(amount) >= 0),
	vat numeric GENERATED ALWAYS AS (shop.vat(amount)) STORED,
	mood shop.mood NOT NULL DEFAULT 'so so',
	placed timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX orders_customer ON shop.orders (customer) INCLUDE (amount) WHERE amount > 1;
CREATE INDEX orders_vat ON shop.orders ((vat + 1) DESC NULLS LAST);
INSERT INTO shop.orders (customer, amount, placed) SELECT i % 7, i * 1.5, '2026-01-01'::timestamptz + i * interval '1 hour' FROM generate_series(1, 100) i;

CREATE TABLE shop.lines (
	order_id bigint NOT NULL REFERENCES shop.orders ON DELETE CASCADE,
	line int NOT NULL, item text COLLATE "C" NOT NULL, PRIMARY KEY (order_id, line)
);
INSERT INTO shop.lines SELECT i, l, 'item ' || l FROM generate_series(1, 100) i, generate_series(1, 3) l;

-- Mixed case, spaces, quotes and reserved words in names.
CREATE TABLE "Mixed Case"."Order ""Table""" ("Id" int PRIMARY KEY, "select" text, "Ünïcode" text, "with space" int);
INSERT INTO "Mixed Case"."Order ""Table""" SELECT i, 'v' || i, 'ü' || i, -i FROM generate_series(1, 20) i;

-- Keys: none at all, none but a full identity, a unique index as the identity.
CREATE TABLE shop.events (at timestamptz, what text);
INSERT INTO shop.events SELECT '2026-01-01'::timestamptz + i * interval '1 second', 'event ' || i % 5 FROM generate_series(1, 50) i;
INSERT INTO shop.events SELECT * FROM shop.events WHERE what = 'event 1';
CREATE TABLE shop.log (what text, n int);
ALTER TABLE shop.log REPLICA IDENTITY FULL;
INSERT INTO shop.log SELECT 'twice', 1 FROM generate_series(1, 2);
CREATE TABLE shop.codes (code text NOT NULL, label text);
CREATE UNIQUE INDEX codes_code ON shop.codes (code);
ALTER TABLE shop.codes REPLICA IDENTITY USING INDEX codes_code;
INSERT INTO shop.codes SELECT 'c' || i, 'label ' || i FROM generate_series(1, 10) i;

-- Partitions, of partitions, with a default one.
CREATE TABLE shop.visits (id bigint NOT NULL, day date NOT NULL, country text NOT NULL DEFAULT 'de', seconds real, PRIMARY KEY (id, day, country)) PARTITION BY RANGE (day);
CREATE TABLE shop.visits_2025 PARTITION OF shop.visits FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE shop.visits_2026 PARTITION OF shop.visits FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (country);
CREATE TABLE shop.visits_2026_de PARTITION OF shop.visits_2026 FOR VALUES IN ('de');
CREATE TABLE shop.visits_2026_rest PARTITION OF shop.visits_2026 DEFAULT;
CREATE TABLE shop.visits_rest PARTITION OF shop.visits DEFAULT;
CREATE INDEX visits_seconds ON shop.visits (seconds);
INSERT INTO shop.visits SELECT i, '2024-11-01'::date + i * 7, (ARRAY['de', 'fr', 'it'])[1 + i % 3], i / 3.0 FROM generate_series(1, 100) i;

-- Tables that inherit, in two steps and from two parents.
CREATE TABLE shop.places (id int PRIMARY KEY, name text NOT NULL DEFAULT 'x', area real CONSTRAINT some_area CHECK (area > 0), added int NOT NULL DEFAULT 7);
CREATE TABLE shop.marked (mark text, area real);
CREATE TABLE shop.towns (mayor text, PRIMARY KEY (id)) INHERITS (shop.places);
CREATE TABLE shop.capitals (of text NOT NULL, id int PRIMARY KEY) INHERITS (shop.towns, shop.marked);
ALTER TABLE shop.marked REPLICA IDENTITY FULL;
INSERT INTO shop.places SELECT i, 'place ' || i, i FROM generate_series(1, 20) i;
INSERT INTO shop.marked VALUES ('m', 1), (NULL, 2);
INSERT INTO shop.towns (id, name, mayor) SELECT i, 'town ' || i, 'mayor ' || i FROM generate_series(21, 30) i;
INSERT INTO shop.capitals (id, name, area, of, mark) SELECT i, 'capital ' || i, i, 'land ' || i, 'm' FROM generate_series(31, 35) i;

-- A column that was dropped, one that was added with a default, and an order of columns of its own.
CREATE TABLE shop.changed (a int PRIMARY KEY, gone text, b text);
INSERT INTO shop.changed SELECT i, 'gone', 'b' || i FROM generate_series(1, 30) i;
ALTER TABLE shop.changed DROP COLUMN gone;
ALTER TABLE shop.changed ADD COLUMN added int NOT NULL DEFAULT 42;

-- A hundred columns, and rows that are out of line.
DO $$ BEGIN
	EXECUTE 'CREATE TABLE shop.wide (id int PRIMARY KEY, ' || (SELECT string_agg(format('c%s %s', i, (ARRAY['int', 'text', 'float8', 'boolean'])[1 + i % 4]), ', ') FROM generate_series(1, 99) i) || ')';
END $$;
INSERT INTO shop.wide (id, c1, c4, c50, c99) SELECT i, 't' || i, i, i / 3.0, i % 2 = 0 FROM generate_series(1, 20) i;
CREATE TABLE shop.documents (id int PRIMARY KEY, body text, packed bytea);
ALTER TABLE shop.documents ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO shop.documents SELECT i, repeat(md5(i::text), 1000), decode(repeat(md5((i + 1)::text), 500), 'hex') FROM generate_series(1, 20) i;

-- No rows, no columns, a view and a materialised one over fed tables, row security, an unlogged table.
CREATE TABLE shop.empty (id int PRIMARY KEY, v text);
CREATE TABLE shop.nothing ();
CREATE VIEW shop.spent AS SELECT customer, sum(amount) AS total FROM shop.orders GROUP BY customer;
CREATE MATERIALIZED VIEW shop.items AS SELECT item, count(*) AS n FROM shop.lines GROUP BY item;
CREATE TABLE shop.secrets (id int PRIMARY KEY, owner text NOT NULL DEFAULT current_user, v text);
ALTER TABLE shop.secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON shop.secrets FOR SELECT USING (owner = current_user);
INSERT INTO shop.secrets SELECT i, 'nobody', 'secret ' || i FROM generate_series(1, 5) i;
CREATE UNLOGGED TABLE shop.scratch (id int PRIMARY KEY);

-- A trigger whose effect must not happen twice on a replica.
CREATE TABLE shop.audit (id bigserial PRIMARY KEY, what text);
CREATE FUNCTION shop.audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO shop.audit (what) VALUES (TG_OP); RETURN NULL; END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON shop.codes FOR EACH ROW EXECUTE FUNCTION shop.audit();
INSERT INTO shop.codes VALUES ('last', 'makes one row of audit');
