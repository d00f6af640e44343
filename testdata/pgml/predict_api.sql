-- The public face of inference: PostgresML's overloads, which differ in their
-- argument types only. Which literals and parameters are ambiguous between them
-- is part of what the stand-in mirrors, so all nine are here.

DO $do$
DECLARE
    element text;
BEGIN
    FOREACH element IN ARRAY ARRAY['real', 'float8', 'smallint', 'int', 'bigint'] LOOP
        EXECUTE format($sql$
            CREATE FUNCTION pgml.predict(project_name text, features %s[]) RETURNS real
            LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS
            'BEGIN RETURN pgml_standin.predict_one(pgml_standin.model_by_name($1), $2::float8[]); END' $sql$, element);
    END LOOP;
END $do$;

CREATE FUNCTION pgml.predict(project_name text, features bool[]) RETURNS real
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN pgml_standin.predict_one(pgml_standin.model_by_name($1), $2::int[]::float8[]);
END $$;

CREATE FUNCTION pgml.predict(project_name text, "row" anyelement) RETURNS real
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    model jsonb := pgml_standin.model_by_name($1);
BEGIN
    RETURN pgml_standin.predict_one(model, pgml_standin.row_features(model, to_json($2)));
END $$;

CREATE FUNCTION pgml.predict(model_id bigint, features real[]) RETURNS real
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN pgml_standin.predict_one(pgml_standin.model_by_id($1), $2::float8[]);
END $$;

CREATE FUNCTION pgml.predict(model_id bigint, "row" anyelement) RETURNS real
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    model jsonb := pgml_standin.model_by_id($1);
BEGIN
    RETURN pgml_standin.predict_one(model, pgml_standin.row_features(model, to_json($2)));
END $$;

CREATE FUNCTION pgml.predict_proba(project_name text, features real[]) RETURNS real[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN pgml_standin.predict_proba(pgml_standin.model_by_name($1), $2::float8[]);
END $$;

CREATE FUNCTION pgml.predict_proba(model_id bigint, features real[]) RETURNS real[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN pgml_standin.predict_proba(pgml_standin.model_by_id($1), $2::float8[]);
END $$;

CREATE FUNCTION pgml.predict_joint(project_name text, features real[]) RETURNS real[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN pgml_standin.predict_joint(pgml_standin.model_by_name($1), $2::float8[]);
END $$;

CREATE FUNCTION pgml.predict_joint(model_id bigint, features real[]) RETURNS real[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN pgml_standin.predict_joint(pgml_standin.model_by_id($1), $2::float8[]);
END $$;

-- By name a set, by id an array: so it is in PostgresML.
CREATE FUNCTION pgml.predict_batch(project_name text, features real[]) RETURNS SETOF real
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY SELECT unnest(pgml_standin.predict_many(pgml_standin.model_by_name($1), $2));
END $$;

CREATE FUNCTION pgml.predict_batch(model_id bigint, features real[]) RETURNS real[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN pgml_standin.predict_many(pgml_standin.model_by_id($1), $2);
END $$;

CREATE FUNCTION pgml.decompose(project_name text, vector real[]) RETURNS real[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    model jsonb := pgml_standin.model_by_name($1);
BEGIN
    PERFORM pgml_standin.check_width(model, $2::float8[]);
    IF model ->> 'kind' <> 'pca' THEN
        RAISE internal_error USING MESSAGE = 'decompose is only available for decomposition';
    END IF;
    RETURN ARRAY(
        SELECT (SELECT sum((v #>> '{}')::float8 * ($2[i] - (model -> 'means' ->> (i - 1)::int)::float8))
                FROM jsonb_array_elements(c) WITH ORDINALITY e(v, i))::real
        FROM jsonb_array_elements(model -> 'components') WITH ORDINALITY t(c, k) ORDER BY k);
END $$;
