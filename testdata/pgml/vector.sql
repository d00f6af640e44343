-- Vector arithmetic and aggregates, for real[] and float8[] alike. Functions of
-- two vectors stop at the end of the shorter one.

DO $do$
DECLARE
    t text;       -- element type
    suffix text;  -- s or d, as in the names of the aggregates' support functions
    f record;
BEGIN
    FOR t, suffix IN VALUES ('real', 's'), ('float8', 'd') LOOP
        FOR f IN VALUES ('add', 'addend', '+'), ('subtract', 'subtrahend', '-'),
                        ('multiply', 'multiplicand', '*'), ('divide', 'dividend', '/') LOOP
            EXECUTE format($sql$
                CREATE FUNCTION pgml.%1$I(vector %3$s[], %2$I %3$s) RETURNS %3$s[]
                LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
                'SELECT array_agg(a %4$s $2 ORDER BY i) FROM unnest($1) WITH ORDINALITY v(a, i)';
                CREATE FUNCTION pgml.%1$I(vector %3$s[], %2$I %3$s[]) RETURNS %3$s[]
                LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
                'SELECT array_agg(a %4$s b ORDER BY i) FROM unnest($1, $2) WITH ORDINALITY v(a, b, i)
                 WHERE i <= least(cardinality($1), cardinality($2))' $sql$, f.column1, f.column2, t, f.column3);
        END LOOP;

        FOR f IN VALUES ('norm_l0', 'count(*) FILTER (WHERE a <> 0)'), ('norm_l1', 'sum(abs(a))'),
                        ('norm_l2', 'sqrt(sum(a::float8 * a))'), ('norm_max', 'max(abs(a))') LOOP
            EXECUTE format($sql$
                CREATE FUNCTION pgml.%1$I(vector %2$s[]) RETURNS %2$s
                LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
                'SELECT (%3$s)::%2$s FROM unnest($1) a' $sql$, f.column1, t, f.column2);
        END LOOP;
        FOR f IN VALUES ('l1'), ('l2'), ('max') LOOP
            EXECUTE format($sql$
                CREATE FUNCTION pgml.normalize_%1$s(vector %2$s[]) RETURNS %2$s[]
                LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
                'SELECT array_agg(a / nullif(n, 0) ORDER BY i)
                 FROM unnest($1) WITH ORDINALITY v(a, i), pgml.norm_%1$s($1) n' $sql$, f.column1, t);
        END LOOP;

        FOR f IN VALUES ('distance_l1', 'sum(abs(a::float8 - b))'), ('distance_l2', 'sqrt(sum((a::float8 - b) * (a::float8 - b)))'),
                        ('dot_product', 'sum(a::float8 * b)'),
                        ('cosine_similarity', 'sum(a::float8 * b) / nullif(sqrt(sum(a::float8 * a)) * sqrt(sum(b::float8 * b)), 0)') LOOP
            EXECUTE format($sql$
                CREATE FUNCTION pgml.%1$I(vector %2$s[], other %2$s[]) RETURNS %2$s
                LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
                'SELECT (%3$s)::%2$s FROM unnest($1, $2) v(a, b)' $sql$, f.column1, t, f.column2);
        END LOOP;

        -- How a vector enters the state, and how two states become one.
        FOR f IN VALUES ('sum', 'a', 'a + b'), ('max', 'a', 'greatest(a, b)'), ('min', 'a', 'least(a, b)'),
                        ('max_abs', 'abs(a)', 'greatest(a, b)'), ('min_abs', 'abs(a)', 'least(a, b)') LOOP
            EXECUTE format($sql$
                CREATE FUNCTION pgml.%1$s_%2$s_combine(first %3$s[], second %3$s[]) RETURNS %3$s[]
                LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
                'SELECT CASE WHEN $1 IS NULL THEN $2 WHEN $2 IS NULL THEN $1 ELSE
                 (SELECT array_agg(%5$s ORDER BY i) FROM unnest($1, $2) WITH ORDINALITY v(a, b, i)) END';
                CREATE FUNCTION pgml.%1$s_%2$s_state(this %3$s[], arg %3$s[]) RETURNS %3$s[]
                LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
                'SELECT pgml.%1$s_%2$s_combine($1, CASE WHEN $2 IS NOT NULL THEN
                 (SELECT array_agg(%4$s ORDER BY i) FROM unnest($2) WITH ORDINALITY v(a, i)) END)';
                CREATE FUNCTION pgml.%1$s_%2$s_finalize(this %3$s[]) RETURNS %3$s[]
                LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT $1';
                CREATE AGGREGATE pgml.%1$s(%3$s[]) (
                    sfunc = pgml.%1$s_%2$s_state, stype = %3$s[], combinefunc = pgml.%1$s_%2$s_combine,
                    finalfunc = pgml.%1$s_%2$s_finalize, parallel = safe) $sql$,
                f.column1, suffix, t, f.column2, f.column3);
        END LOOP;
    END LOOP;
END $do$;
