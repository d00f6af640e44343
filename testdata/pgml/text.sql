-- Inference without a catalogue: embeddings, ranking, chunks. No model is
-- loaded; the answers are deterministic functions of the words, so that equal
-- texts are equal, similar texts near, and tests can know the result.

CREATE FUNCTION pgml_standin.words(text text) RETURNS SETOF text
LANGUAGE sql IMMUTABLE AS $$
    SELECT w FROM regexp_split_to_table(lower($1), '[^[:alnum:]]+') w WHERE w <> ''
$$;

-- dimensions by the usual sizes that models carry in their names.
CREATE FUNCTION pgml_standin.dimensions(transformer text) RETURNS int
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN $1 ~* 'large' THEN 1024 WHEN $1 ~* 'base|mpnet|instructor' THEN 768 ELSE 384 END
$$;

-- embed_one hashes each word to four places of the vector, with signs, and
-- scales the sum to length 1. pgml_standin.embed_delay (seconds) slows it down
-- as a model would.
CREATE FUNCTION pgml_standin.embed_one(transformer text, input text) RETURNS real[]
LANGUAGE plpgsql AS $$
DECLARE
    d int := pgml_standin.dimensions(transformer);
    v float8[] := array_fill(0::float8, ARRAY[d]);
    delay text := current_setting('pgml_standin.embed_delay', true);
    norm float8;
    w text;
    h bigint;
    at int;
BEGIN
    IF delay <> '' THEN
        PERFORM pg_sleep(delay::float8);
    END IF;
    FOR w IN SELECT pgml_standin.words(input) LOOP
        FOR k IN 0..3 LOOP
            h := ('x' || substr(md5(w), 1 + 8 * k, 8))::bit(32)::bigint;
            at := 1 + (h >> 1) % d;
            v[at] := v[at] + CASE WHEN h & 1 = 1 THEN 1 ELSE -1 END;
        END LOOP;
    END LOOP;
    norm := sqrt((SELECT sum(e * e) FROM unnest(v) e));
    IF norm = 0 THEN -- no words: any fixed direction will do
        v[1] := 1;
        norm := 1;
    END IF;
    RETURN ARRAY(SELECT (e / norm)::real FROM unnest(v) e);
END $$;

CREATE FUNCTION pgml.embed(transformer text, "text" text, kwargs jsonb DEFAULT '{}') RETURNS real[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN pgml_standin.embed_one($1, $2);
END $$;

CREATE FUNCTION pgml.embed(transformer text, inputs text[], kwargs jsonb DEFAULT '{}') RETURNS SETOF real[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY SELECT pgml_standin.embed_one($1, i) FROM unnest($2) WITH ORDINALITY t(i, o) ORDER BY o;
END $$;

-- The score is the share of the query's words that a document has.
CREATE FUNCTION pgml.rank(transformer text, query text, documents text[], kwargs jsonb DEFAULT '{}')
RETURNS TABLE (corpus_id bigint, score float8, "text" text)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT o - 1, coalesce(hits / nullif(total, 0), 0), CASE WHEN ($4 ->> 'return_documents')::bool THEN doc END
    FROM unnest($3) WITH ORDINALITY d(doc, o),
         LATERAL (SELECT count(DISTINCT q)::float8 AS total,
                         count(DISTINCT q) FILTER (WHERE q IN (SELECT pgml_standin.words(doc))) AS hits
                  FROM pgml_standin.words($2) q) s
    ORDER BY 2 DESC, 1
$$;

-- Windows of chunk_size characters, each beginning chunk_overlap before the end
-- of the last; which splitter is asked for makes no difference.
CREATE FUNCTION pgml.chunk(splitter text, "text" text, kwargs jsonb DEFAULT '{}')
RETURNS TABLE (chunk_index bigint, chunk text)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT row_number() OVER (ORDER BY at), substr($2, at, size)
    FROM (SELECT size, greatest(1, size - overlap) AS step
          FROM (SELECT coalesce(($3 ->> 'chunk_size')::int, 4000) AS size,
                       coalesce(($3 ->> 'chunk_overlap')::int, 200) AS overlap) k) w,
         generate_series(1, greatest(1, length($2) - size + step), step) at
    WHERE $2 <> ''
$$;
