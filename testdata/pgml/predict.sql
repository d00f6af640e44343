-- Inference from stored models.
--
-- predict and its kin are IMMUTABLE and PARALLEL SAFE, as in PostgresML, though
-- they read tables and fill caches. PL/pgSQL allows that through the VOLATILE
-- functions they call.
--
-- Caches of a session: project name to id, and model id to model, never made
-- invalid, as in a PostgresML backend. They are settings of the session, so
-- RESET ALL and an aborted transaction forget them, which the real ones do not.

-- cold_load does to the transaction what the real extension's first access does:
-- it takes a transaction id, and so fails on a hot standby and in a parallel
-- plan. SET pgml_standin.assign_xid = off leaves that out.
CREATE FUNCTION pgml_standin.cold_load() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF pg_is_in_recovery() OR current_setting('pgml_standin.assign_xid', true) IS DISTINCT FROM 'off' THEN
        PERFORM pg_logical_emit_message(true, 'pgml_standin', '');
    END IF;
END $$;

-- model_by_id is a model ready to apply: the stored one and the columns it wants.
CREATE FUNCTION pgml_standin.model_by_id(model_id bigint) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    key text := 'pgml_standin.model_' || model_id;
    cached text := current_setting(key, true);
    model jsonb;
BEGIN
    IF cached <> '' THEN
        RETURN cached::jsonb;
    END IF;
    RAISE INFO 'Model cache miss %', model_id;
    PERFORM pgml_standin.cold_load();
    SELECT convert_from(f.data, 'UTF8')::jsonb || jsonb_build_object('num_features', m.num_features, 'features',
               (SELECT jsonb_agg(jsonb_build_object('name', c ->> 'name', 'categories', c -> 'statistics' -> 'categories')
                                 ORDER BY (c ->> 'position')::int)
                FROM jsonb_array_elements(s.columns) c WHERE NOT (c ->> 'label')::bool))
    INTO model
    FROM pgml.models m
    JOIN pgml.projects p ON p.id = m.project_id
    JOIN pgml.snapshots s ON s.id = m.snapshot_id
    JOIN pgml.files f ON f.model_id = m.id AND f.path = 'estimator.rmp' AND f.part = 0
    WHERE m.id = model_by_id.model_id;
    IF model IS NULL THEN
        RAISE internal_error USING MESSAGE = format(
            'pgml.models WHERE id = %s could not be loaded. Does it exist?', model_id);
    END IF;
    PERFORM set_config(key, model::text, false);
    RETURN model;
END $$;

-- model_by_name is the project's live model: by the shared map once the session
-- knows the name, else by the newest deployment, which then goes into the map
-- for everybody.
CREATE FUNCTION pgml_standin.model_by_name(project_name text) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    key text := 'pgml_standin.project_' || md5(project_name);
    cached text := current_setting(key, true);
    project bigint;
    live bigint;
BEGIN
    IF cached <> '' THEN
        live := pgml_standin.map_get(cached::bigint);
        IF live IS NOT NULL THEN
            RETURN pgml_standin.model_by_id(live);
        END IF;
    END IF;
    PERFORM pgml_standin.cold_load();
    SELECT d.project_id, d.model_id INTO project, live
    FROM pgml.projects p JOIN pgml.deployments d ON d.project_id = p.id
    WHERE p.name = project_name ORDER BY d.created_at DESC LIMIT 1;
    IF NOT FOUND THEN
        RAISE internal_error USING MESSAGE = format('No deployed model exists for the project named: `%s`', project_name);
    END IF;
    PERFORM set_config(key, project::text, false);
    PERFORM pgml_standin.map_set(project, live);
    RETURN pgml_standin.model_by_id(live);
END $$;

CREATE FUNCTION pgml_standin.check_width(model jsonb, x float8[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF cardinality(x) <> (model ->> 'num_features')::int THEN
        RAISE internal_error USING MESSAGE = format('%s features were given, the model has %s',
            cardinality(x), model ->> 'num_features');
    END IF;
END $$;

-- probabilities of the classes, which sum to 1.
CREATE FUNCTION pgml_standin.probabilities(model jsonb, x float8[]) RETURNS float8[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    d int := cardinality(x);
    w jsonb;
    e float8;
    p float8[] := '{}';
    total float8;
BEGIN
    FOR k IN 0..jsonb_array_length(model -> 'weights') - 1 LOOP
        w := model -> 'weights' -> k;
        e := (w ->> d)::float8;
        FOR i IN 1..d LOOP
            e := e + (w ->> (i - 1))::float8 * x[i];
        END LOOP;
        p := p || 1 / (1 + exp(-greatest(-500, least(500, e))));
    END LOOP;
    IF cardinality(p) = 1 THEN
        RETURN ARRAY[1 - p[1], p[1]];
    END IF;
    total := (SELECT sum(v) FROM unnest(p) v);
    RETURN ARRAY(SELECT v / nullif(total, 0) FROM unnest(p) v);
END $$;

-- apply is a model's answer for one row.
CREATE FUNCTION pgml_standin.apply(model jsonb, x float8[]) RETURNS float8
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    answer float8;
    coef jsonb;
    p float8[];
BEGIN
    CASE model ->> 'kind'
    WHEN 'linear' THEN
        answer := (model ->> 'intercept')::float8;
        coef := model -> 'coef';
        FOR i IN 1..cardinality(x) LOOP
            answer := answer + (coef ->> (i - 1))::float8 * x[i];
        END LOOP;
    WHEN 'logistic' THEN
        p := pgml_standin.probabilities(model, x);
        answer := (model -> 'classes' ->> (array_position(p, (SELECT max(v) FROM unnest(p) v)) - 1))::float8;
    WHEN 'kmeans' THEN
        SELECT k - 1 INTO answer
        FROM jsonb_array_elements(model -> 'centroids') WITH ORDINALITY c(centroid, k)
        ORDER BY (SELECT sum((v::float8 - x[i]) ^ 2) FROM jsonb_array_elements_text(centroid) WITH ORDINALITY e(v, i)), k LIMIT 1;
    WHEN 'joint' THEN
        answer := pgml_standin.apply(model -> 'models' -> 0, x);
    ELSE
        RAISE internal_error USING MESSAGE = format('a model of kind %s cannot predict', model ->> 'kind');
    END CASE;
    RETURN answer;
END $$;

CREATE FUNCTION pgml_standin.predict_one(model jsonb, x float8[]) RETURNS real
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM pgml_standin.check_width(model, x);
    RETURN pgml_standin.apply(model, x)::real;
END $$;

CREATE FUNCTION pgml_standin.predict_joint(model jsonb, x float8[]) RETURNS real[]
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM pgml_standin.check_width(model, x);
    IF model ->> 'kind' <> 'joint' THEN
        RETURN ARRAY[pgml_standin.apply(model, x)::real];
    END IF;
    RETURN ARRAY(SELECT pgml_standin.apply(m, x)::real FROM jsonb_array_elements(model -> 'models') WITH ORDINALITY t(m, o) ORDER BY o);
END $$;

CREATE FUNCTION pgml_standin.predict_proba(model jsonb, x float8[]) RETURNS real[]
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM pgml_standin.check_width(model, x);
    IF model ->> 'kind' <> 'logistic' THEN
        RAISE internal_error USING MESSAGE = 'predict_proba is only available for classification';
    END IF;
    RETURN pgml_standin.probabilities(model, x)::real[];
END $$;

-- predict_many takes any number of rows, one after the other in one array.
CREATE FUNCTION pgml_standin.predict_many(model jsonb, features real[]) RETURNS real[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    flat float8[] := ARRAY(SELECT v::float8 FROM unnest(features) v);
    d int := (model ->> 'num_features')::int;
    answers real[] := '{}';
BEGIN
    IF cardinality(flat) % d <> 0 THEN
        RAISE internal_error USING MESSAGE = format('%s features are no multiple of the %s that the model has', cardinality(flat), d);
    END IF;
    FOR r IN 0..cardinality(flat) / d - 1 LOOP
        answers := answers || pgml_standin.apply(model, flat[r*d + 1:(r + 1)*d])::real;
    END LOOP;
    RETURN answers;
END $$;

-- row_features are the features of a row: by column name where the row has the
-- training relation's names (other columns are passed over), else by position.
CREATE FUNCTION pgml_standin.row_features(model jsonb, r json) RETURNS float8[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    features jsonb := model -> 'features';
    flat float8[] := '{}';
    v jsonb;
    f jsonb;
BEGIN
    IF json_typeof(r) IS DISTINCT FROM 'object' THEN
        RAISE internal_error USING MESSAGE = 'a row, or an array of numbers, is needed to predict from';
    END IF;
    FOR f, v IN
        SELECT feature, e.value::jsonb
        FROM (SELECT bool_and(r::jsonb ? (n ->> 'name')) AS by_name FROM jsonb_array_elements(features) n) names,
             jsonb_array_elements(features) WITH ORDINALITY t(feature, i),
             json_each(r) WITH ORDINALITY e(key, value, j)
        WHERE CASE WHEN by_name THEN key = feature ->> 'name' ELSE i = j END
        ORDER BY i
    LOOP
        flat := flat || CASE
            WHEN jsonb_typeof(f -> 'categories') = 'object' THEN ARRAY[(f -> 'categories' ->> coalesce(v #>> '{}', '__NULL__'))::float8]
            WHEN jsonb_typeof(v) = 'array' THEN ARRAY(SELECT a::real::float8 FROM jsonb_array_elements_text(v) a)
            WHEN jsonb_typeof(v) = 'boolean' THEN ARRAY[(v #>> '{}')::bool::int::float8]
            ELSE ARRAY[(v #>> '{}')::real::float8] END;
    END LOOP;
    RETURN flat;
END $$;
