-- What the wire cases expect on the replicas, after schema.sql and CREATE EXTENSION
-- pgml: project p with a deployed model of two features.

SELECT * FROM pgml.train('p', 'regression', 'public.houses_of_p', 'price');

DROP TABLE only_primary CASCADE;
ALTER TABLE notes DROP COLUMN author;
ALTER TABLE secrets DISABLE ROW LEVEL SECURITY;
GRANT SELECT ON salaries TO analyst;
DROP FUNCTION local_only();
CREATE TABLE features (id int, v real[]);
CREATE VIEW scored AS SELECT id, pgml.predict('p', ARRAY[rooms, area]) AS price FROM houses;
CREATE VIEW documents AS SELECT id, body FROM docs WHERE EXISTS (SELECT FROM features);
CREATE FUNCTION wrap(text) RETURNS real[] LANGUAGE sql AS $$ SELECT pgml.embed('m', $1) $$;
