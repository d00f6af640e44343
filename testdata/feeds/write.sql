\set customer random(1, 1000000)
\set id random(1, 100)
\set amount random(0, 100000)
BEGIN;
INSERT INTO shop.orders (customer, amount, mood) VALUES (:customer, :amount / 100.0, (ARRAY['sad', 'so so', 'glad'])[1 + :id % 3]::shop.mood);
INSERT INTO shop.lines SELECT id, 1, 'item ' || :id FROM shop.orders WHERE customer = :customer ON CONFLICT DO NOTHING;
UPDATE shop.orders SET amount = :amount, mood = 'glad' WHERE id = :id;
DELETE FROM shop.orders WHERE customer = :customer AND :id % 5 = 0;
UPDATE shop.types SET share = :id, tags = tags || '{new}', doc = jsonb_build_object('n', :customer), took = :id * interval '1 hour' WHERE id = 1 + :id % 3 AND coalesce(cardinality(tags), 0) < 50;
INSERT INTO shop.visits (id, day, country) VALUES (100 + :customer, '2025-06-01'::date + :id, (ARRAY['de', 'fr'])[1 + :id % 2]) ON CONFLICT DO NOTHING;
UPDATE shop.visits SET day = day + 365 WHERE id = 100 + :customer AND day < '2026-01-01' AND NOT EXISTS (SELECT FROM shop.visits v WHERE v.id = 100 + :customer AND v.day >= '2026-01-01');
UPDATE shop.documents SET body = repeat(md5(:customer::text), 500 + :id) WHERE id = 1 + :id % 20;
INSERT INTO shop.events VALUES (now(), 'event ' || :id);
UPDATE "Mixed Case"."Order ""Table""" SET "select" = 'w' || :customer, "with space" = NULL WHERE "Id" = 1 + :id % 20;
UPDATE shop.wide SET c1 = 'u' || :customer, c50 = NULL WHERE id = 1 + :id % 20;
UPDATE shop.changed SET added = :id WHERE a = 1 + :id % 30;
UPDATE shop.places SET area = :id, name = 'n' || :customer WHERE id = 1 + :id % 35;
END;
