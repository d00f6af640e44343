-- What the wire cases expect on the replicas, after schema.sql and CREATE EXTENSION
-- pgml: project p with a deployed model of two features.

SELECT * FROM pgml.train('p', 'regression', 'public.houses_of_p', 'price');
