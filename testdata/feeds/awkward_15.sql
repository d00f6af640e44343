-- A key that takes one row without a value.
CREATE TABLE shop.once (id int PRIMARY KEY, v text, CONSTRAINT once_v UNIQUE NULLS NOT DISTINCT (v));
INSERT INTO shop.once VALUES (1, 'a'), (2, NULL);
