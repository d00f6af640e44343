-- Snapshots: which relation a model learns from, what its columns are, and the
-- numbers in it.

-- relation_parts finds a relation where PostgresML looks for it: schema public,
-- or the schema given. search_path plays no part.
CREATE FUNCTION pgml_standin.relation_parts(relation_name text, OUT schema_name text, OUT table_name text)
LANGUAGE plpgsql STABLE AS $$
DECLARE
    parts text[] := string_to_array(replace(relation_name, '"', ''), '.');
BEGIN
    IF cardinality(parts) = 1 THEN
        schema_name := 'public';
        table_name := parts[1];
    ELSE
        schema_name := parts[1];
        table_name := parts[2];
    END IF;
    IF NOT EXISTS (SELECT FROM information_schema.tables t
                   WHERE t.table_schema = schema_name::text AND t.table_name = relation_parts.table_name::text) THEN
        IF cardinality(parts) = 1 THEN
            RAISE internal_error USING MESSAGE = format(
                'Relation "%s" could not be found in the public schema. Please specify the table schema, e.g. pgml.%s',
                table_name, table_name);
        END IF;
        RAISE internal_error USING MESSAGE = format('Relation "%s"."%s" doesn''t exist', schema_name, table_name);
    END IF;
END $$;

-- describe is what pgml.snapshots.columns says of a relation: an array of one
-- object per column, in order. Text columns get their categories from encode.
CREATE FUNCTION pgml_standin.describe(schema_name text, table_name text, y_column_name text[], preprocess jsonb)
RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT jsonb_agg(jsonb_build_object(
        'name', c.column_name, 'pg_type', c.udt_name, 'nullable', c.is_nullable = 'YES',
        'label', c.column_name = ANY (y_column_name), 'position', c.ordinal_position, 'size', 1,
        'array', c.data_type = 'ARRAY', 'preprocessor', coalesce(preprocess -> c.column_name::text,
            '{"encode": "native", "impute": "error", "scale": "preserve"}')) ORDER BY c.ordinal_position)
    FROM information_schema.columns c
    WHERE c.table_schema = $1 AND c.table_name = $2
$$;

CREATE FUNCTION pgml_standin.take_snapshot(relation_name text, y_column_name text[], test_size real,
    test_sampling pgml.sampling, materialize bool, preprocess jsonb) RETURNS pgml.snapshots
LANGUAGE plpgsql AS $$
DECLARE
    rel record := pgml_standin.relation_parts(relation_name);
    described jsonb := pgml_standin.describe(rel.schema_name, rel.table_name, y_column_name, preprocess);
    snap pgml.snapshots;
    label text;
BEGIN
    FOREACH label IN ARRAY y_column_name LOOP
        IF NOT EXISTS (SELECT FROM jsonb_array_elements(described) c WHERE c ->> 'name' = label) THEN
            RAISE internal_error USING MESSAGE = format(
                'Column `%s` not found. Did you pass the correct `y_column_name`?', label);
        END IF;
    END LOOP;
    INSERT INTO pgml.snapshots (relation_name, y_column_name, test_size, test_sampling, status, columns, materialized)
    VALUES (relation_name, y_column_name, test_size, test_sampling, 'in_progress', described, materialize)
    RETURNING * INTO snap;
    IF materialize THEN
        EXECUTE format('CREATE TABLE pgml.snapshot_%s AS SELECT * FROM %I.%I', snap.id, rel.schema_name, rel.table_name);
    END IF;
    RETURN snap;
END $$;

CREATE FUNCTION pgml.snapshot(relation_name text, y_column_name text, test_size real DEFAULT 0.25,
    test_sampling pgml.sampling DEFAULT 'stratified', preprocess jsonb DEFAULT '{}')
RETURNS TABLE (relation text, y_column_name text) LANGUAGE sql STRICT AS $$
    SELECT $1, $2 FROM pgml_standin.take_snapshot($1, ARRAY[$2], $3, $4, true, $5)
$$;

-- encode replaces text by numbers: categories count from 1 in order of their
-- first letter, 0 stands for NULL. It returns the columns with the categories.
CREATE FUNCTION pgml_standin.encode(relation text, columns jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE
    col jsonb;
    result jsonb := '[]';
    categories jsonb;
    size int;
BEGIN
    FOR col IN SELECT c FROM jsonb_array_elements(columns) c LOOP
        IF col ->> 'pg_type' IN ('text', 'varchar', 'bpchar', 'name') THEN
            EXECUTE format('SELECT jsonb_object_agg(v, n) FROM (SELECT %1$I::text AS v, row_number() OVER (ORDER BY %1$I::text) AS n
                            FROM %2$s WHERE %1$I IS NOT NULL GROUP BY 1, %1$I) t', col ->> 'name', relation) INTO categories;
            col := jsonb_set(col, '{statistics}', jsonb_build_object('categories',
                jsonb_build_object('__NULL__', 0) || coalesce(categories, '{}')));
        ELSIF (col ->> 'array')::bool THEN
            EXECUTE format('SELECT coalesce(max(cardinality(%I)), 0) FROM %s', col ->> 'name', relation) INTO size;
            col := jsonb_set(col, '{size}', to_jsonb(size));
        END IF;
        result := result || jsonb_build_array(col);
    END LOOP;
    RETURN result;
END $$;

-- as_numbers is the SQL expression for the float array that a column stands for.
CREATE FUNCTION pgml_standin.as_numbers(col jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN col -> 'statistics' -> 'categories' IS NOT NULL THEN
            format('ARRAY[(%L::jsonb ->> coalesce(%I::text, ''__NULL__''))::real::float8]',
                col -> 'statistics' -> 'categories', col ->> 'name')
        WHEN (col ->> 'array')::bool THEN format('%I::real[]::float8[]', col ->> 'name')
        WHEN col ->> 'pg_type' = 'bool' THEN format('ARRAY[%I::int::float8]', col ->> 'name')
        ELSE format('ARRAY[%I::real::float8]', col ->> 'name')
    END
$$;

-- A training set in memory; x and y have one row per sample.
CREATE TYPE pgml_standin.samples AS (x float8[], y float8[], n int, d int, test int, columns jsonb);

-- read_samples reads a snapshot's rows: the materialised copy, else the relation
-- as it is now. The last rows are the test set, so the sampling is an order.
-- Stratified interleaves the classes in an order that depends on the rows alone,
-- where the real one draws lots. numeric rounds halves up, as Rust does; float8
-- would round them to even.
CREATE FUNCTION pgml_standin.read_samples(snap pgml.snapshots) RETURNS pgml_standin.samples
LANGUAGE plpgsql AS $$
DECLARE
    rel record;
    relation text;
    s pgml_standin.samples;
    features text;
    labels text;
    ordering text;
    nulls bigint;
BEGIN
    IF snap.materialized THEN
        relation := format('pgml.snapshot_%s', snap.id);
    ELSE
        rel := pgml_standin.relation_parts(snap.relation_name);
        relation := format('%I.%I', rel.schema_name, rel.table_name);
    END IF;
    s.columns := pgml_standin.encode(relation, snap.columns);
    SELECT string_agg(pgml_standin.as_numbers(c), ' || ' ORDER BY (c ->> 'position')::int) FILTER (WHERE NOT (c ->> 'label')::bool),
           string_agg(pgml_standin.as_numbers(c), ' || ' ORDER BY array_position(snap.y_column_name, c ->> 'name'))
               FILTER (WHERE (c ->> 'label')::bool)
    INTO features, labels FROM jsonb_array_elements(s.columns) c;
    ordering := CASE
        WHEN snap.test_sampling = 'random' THEN 'random()'
        WHEN snap.test_sampling = 'stratified' AND labels IS NOT NULL THEN
            format('row_number() OVER (PARTITION BY %s ORDER BY md5(t::text)), md5(t::text)', labels)
        ELSE NULL END;

    EXECUTE format('SELECT array_agg(x ORDER BY rn), array_agg(y ORDER BY rn), count(*), max(cardinality(x)),
                           count(*) FILTER (WHERE array_position(x, NULL) IS NOT NULL OR array_position(y, NULL) IS NOT NULL)
                    FROM (SELECT x, y, row_number() OVER () AS rn
                          FROM (SELECT %s AS x, %s AS y FROM %s t %s) r) r',
        features, coalesce(labels, 'ARRAY[0::float8]'), relation, 'ORDER BY ' || ordering)
    INTO s.x, s.y, s.n, s.d, nulls;

    IF s.n IS NULL OR s.n = 0 THEN
        RAISE internal_error USING MESSAGE = format('Relation "%s" contains no rows.', snap.relation_name);
    END IF;
    IF nulls > 0 THEN
        RAISE internal_error USING MESSAGE = format(
            'NULL in %s of %s rows of "%s": the stand-in does not impute', nulls, s.n, snap.relation_name);
    END IF;
    s.test := CASE WHEN snap.test_size > 1 THEN snap.test_size::int ELSE round((s.n * snap.test_size)::numeric)::int END;
    IF s.test >= s.n THEN
        RAISE internal_error USING MESSAGE = format(
            'test_size = %s is too large. There are only %s samples.', s.test, s.n);
    END IF;
    RETURN s;
END $$;

-- analyse announces a training set and stores its statistics with the snapshot.
CREATE FUNCTION pgml_standin.analyse(snap pgml.snapshots, s pgml_standin.samples) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    col jsonb;
    at int := 0;
    stats jsonb;
    result jsonb := '[]';
BEGIN
    RAISE INFO 'Dataset { num_features: %, num_labels: %, num_rows: %, num_train_rows: %, num_test_rows: % }',
        s.d, cardinality(snap.y_column_name), s.n, s.n - s.test, s.test;
    FOR col IN SELECT c FROM jsonb_array_elements(s.columns) c LOOP
        IF (col ->> 'label')::bool THEN
            SELECT jsonb_build_object('min', min(v), 'max', max(v), 'mean', avg(v), 'std_dev', stddev_pop(v), 'missing', 0)
            INTO stats FROM generate_series(1, s.n) r,
                LATERAL (SELECT s.y[r][array_position(snap.y_column_name, col ->> 'name')] AS v) t;
        ELSE
            SELECT jsonb_build_object('min', min(v), 'max', max(v), 'mean', avg(v), 'std_dev', stddev_pop(v), 'missing', 0)
            INTO stats FROM generate_series(1, s.n) r, LATERAL (SELECT s.x[r][at + 1] AS v) t;
            at := at + (col ->> 'size')::int;
        END IF;
        RAISE INFO 'Column "%": Statistics { min: %, max: %, mean: %, std_dev: % }',
            col ->> 'name', stats ->> 'min', stats ->> 'max', stats ->> 'mean', stats ->> 'std_dev';
        result := result || jsonb_build_array(jsonb_set(col, '{statistics}', coalesce(col -> 'statistics', '{}') || stats));
    END LOOP;
    UPDATE pgml.snapshots SET columns = result,
        analysis = jsonb_build_object('num_features', s.d, 'num_rows', s.n, 'num_train_rows', s.n - s.test, 'num_test_rows', s.test)
    WHERE id = snap.id;
END $$;
