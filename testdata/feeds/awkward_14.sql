-- Multiranges, of themselves and in arrays.
CREATE TABLE shop.spans (id int PRIMARY KEY, spans int4multirange, days datemultirange[]);
INSERT INTO shop.spans VALUES (1, '{[1,3),[5,7)}', '{"{[2026-01-01,2026-02-01)}"}'), (2, '{}', '{}'), (3, NULL, NULL);
