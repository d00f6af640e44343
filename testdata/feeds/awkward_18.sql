-- Columns that are computed when they are read, beside one that is when it is written.
CREATE TABLE shop.computed (id int PRIMARY KEY, net numeric, gross numeric GENERATED ALWAYS AS (net * 1.19) VIRTUAL, kept numeric GENERATED ALWAYS AS (net * 2) STORED);
INSERT INTO shop.computed (id, net) SELECT i, i * 1.5 FROM generate_series(1, 20) i;

-- Constraints that forbid NULL, with names, without looking at what is there; and one that nobody enforces.
CREATE TABLE shop.drafts (id int PRIMARY KEY, title text, author text CONSTRAINT "Has Author" NOT NULL, pages int CONSTRAINT some_pages CHECK (pages > 0) NOT ENFORCED);
INSERT INTO shop.drafts VALUES (1, NULL, 'a', -1), (2, 't', 'b', 2);
ALTER TABLE shop.drafts ADD CONSTRAINT titled NOT NULL title NOT VALID;
