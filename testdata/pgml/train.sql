-- Training, in the order of steps and messages that PostgresML has.

-- project_for finds a project or makes it.
CREATE FUNCTION pgml_standin.project_for(project_name text, task text) RETURNS pgml.projects
LANGUAGE plpgsql AS $$
DECLARE
    p pgml.projects;
BEGIN
    IF task IS NOT NULL AND task NOT IN ('regression', 'classification', 'clustering', 'decomposition') THEN
        RAISE internal_error USING MESSAGE = format('unknown task: %s (the stand-in knows regression, classification, clustering, decomposition)', task);
    END IF;
    SELECT * INTO p FROM pgml.projects WHERE name = project_name;
    IF NOT FOUND THEN
        IF task IS NULL THEN
            RAISE internal_error USING MESSAGE = format(
                'Project `%s` does not exist. To create a new project, you must specify a `task`.', project_name);
        END IF;
        INSERT INTO pgml.projects (name, task) VALUES (project_name, task::pgml.task) RETURNING * INTO p;
    ELSIF task IS NOT NULL AND p.task::text <> task THEN
        RAISE internal_error USING MESSAGE = format(
            'Project `"%s"` already exists with a different task: `%s`. Create a new project instead.', project_name, p.task);
    END IF;
    RETURN p;
END $$;

-- snapshot_for takes a new snapshot where a relation is named, else the
-- project's newest one.
CREATE FUNCTION pgml_standin.snapshot_for(p pgml.projects, relation_name text, y_column_name text[], test_size real,
    test_sampling pgml.sampling, materialize bool, preprocess jsonb) RETURNS pgml.snapshots
LANGUAGE plpgsql AS $$
DECLARE
    snap pgml.snapshots;
BEGIN
    IF relation_name IS NULL THEN
        SELECT s.* INTO snap FROM pgml.snapshots s JOIN pgml.models m ON m.snapshot_id = s.id
        WHERE m.project_id = p.id ORDER BY s.created_at DESC LIMIT 1;
        IF NOT FOUND THEN
            RAISE internal_error USING MESSAGE =
                'You must pass a `relation_name` and `y_column_name` to snapshot the first time you train a model.';
        END IF;
        RAISE INFO 'Using existing snapshot from "pgml"."snapshot_%"', snap.id;
        RETURN snap;
    END IF;
    IF y_column_name IS NULL AND p.task IN ('regression', 'classification') THEN
        RAISE internal_error USING MESSAGE =
            'You must pass a `y_column_name` when you pass a `relation_name` for a supervised task.';
    END IF;
    RAISE INFO 'Snapshotting table "%", this may take a little while...', relation_name;
    snap := pgml_standin.take_snapshot(relation_name, coalesce(y_column_name, '{}'), test_size, test_sampling, materialize, preprocess);
    IF materialize THEN
        RAISE INFO 'Snapshot of table "%" created and saved in "pgml"."snapshot_%"', relation_name, snap.id;
    END IF;
    RETURN snap;
END $$;

-- work_for passes the time deaf to cancel requests and statement_timeout, as a
-- fit in compiled code does: only ending the backend ends it early.
CREATE FUNCTION pgml_standin.work_for(seconds float8) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    until timestamptz := clock_timestamp() + make_interval(secs => seconds);
BEGIN
    WHILE clock_timestamp() < until LOOP
        BEGIN
            PERFORM pg_sleep(extract(epoch FROM until - clock_timestamp()));
        EXCEPTION WHEN query_canceled THEN
            NULL;
        END;
    END LOOP;
END $$;

-- fit learns one model from the training rows.
CREATE FUNCTION pgml_standin.fit(task text, algorithm text, hyperparams jsonb, x float8[], y float8[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
    IF (hyperparams ->> 'fail')::bool THEN
        RAISE internal_error USING MESSAGE = 'the fit failed, as asked for by hyperparams';
    END IF;
    IF hyperparams ? 'sleep_seconds' THEN
        PERFORM pgml_standin.work_for((hyperparams ->> 'sleep_seconds')::float8);
    END IF;
    CASE task || ' ' || algorithm
    WHEN 'regression linear' THEN
        RETURN pgml_standin.fit_linear(x, y, 0);
    WHEN 'regression ridge' THEN
        RETURN pgml_standin.fit_linear(x, y, coalesce((hyperparams ->> 'alpha')::float8, 1));
    WHEN 'classification linear' THEN
        RETURN pgml_standin.fit_logistic(x, y, coalesce((hyperparams ->> 'C')::float8, 1));
    WHEN 'clustering kmeans' THEN
        RETURN pgml_standin.fit_kmeans(x, coalesce((hyperparams ->> 'n_clusters')::int, 8));
    WHEN 'decomposition pca' THEN
        RETURN pgml_standin.fit_pca(x, coalesce((hyperparams ->> 'n_components')::int, array_length(x, 2)));
    ELSE
        RAISE internal_error USING MESSAGE = format('the stand-in does not implement %s by %s', task, algorithm),
            HINT = 'It has linear and ridge regression, linear classification, kmeans and pca.';
    END CASE;
END $$;

-- fit_labels fits one model per label where there are several (train_joint).
CREATE FUNCTION pgml_standin.fit_labels(task text, algorithm text, hyperparams jsonb, x float8[], y float8[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    models jsonb := '[]';
BEGIN
    FOR k IN 1..array_length(y, 2) LOOP
        models := models || jsonb_build_array(pgml_standin.fit(task, algorithm, hyperparams, x,
            ARRAY(SELECT y[r][k] FROM generate_series(1, array_length(y, 1)) r)));
    END LOOP;
    RETURN CASE WHEN jsonb_array_length(models) = 1 THEN models -> 0
                ELSE jsonb_build_object('kind', 'joint', 'models', models) END;
END $$;

-- score tests a model; of a joint one, its first label, as PostgresML does.
CREATE FUNCTION pgml_standin.score(task text, model jsonb, x float8[], y float8[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    one jsonb := CASE WHEN model ->> 'kind' = 'joint' THEN model -> 'models' -> 0 ELSE model END;
    n int := array_length(x, 1);
    truth float8[] := ARRAY(SELECT y[r][1] FROM generate_series(1, n) r);
    guess float8[];
BEGIN
    IF task = 'decomposition' THEN
        RETURN jsonb_build_object('cumulative_explained_variance', model -> 'explained');
    END IF;
    guess := ARRAY(SELECT pgml_standin.apply(one, ARRAY(SELECT x[r][i] FROM generate_series(1, array_length(x, 2)) i))
                   FROM generate_series(1, n) r ORDER BY r);
    CASE task
    WHEN 'regression' THEN RETURN pgml_standin.regression_metrics(truth, guess);
    WHEN 'classification' THEN RETURN pgml_standin.classification_metrics(truth, guess);
    ELSE RETURN jsonb_build_object('silhouette', pgml_standin.silhouette(x, guess::int[]));
    END CASE;
END $$;

-- candidates are the hyperparameters to try: every combination for a grid
-- search, the first n_iter of them for a random one.
CREATE FUNCTION pgml_standin.candidates(hyperparams jsonb, search pgml.search, search_params jsonb, search_args jsonb)
RETURNS jsonb[] LANGUAGE plpgsql AS $$
DECLARE
    found jsonb[] := ARRAY[hyperparams];
    k text;
    vals jsonb;
BEGIN
    IF search IS NULL THEN
        RETURN found;
    END IF;
    FOR k, vals IN SELECT key, value FROM jsonb_each(search_params) LOOP
        found := ARRAY(SELECT c || jsonb_build_object(k, v) FROM unnest(found) c, jsonb_array_elements(vals) v);
    END LOOP;
    RETURN CASE WHEN search = 'random' THEN found[1:coalesce((search_args ->> 'n_iter')::int, 10)] ELSE found END;
END $$;

-- learn tries all candidates, keeps the best, and stores it as a model.
CREATE FUNCTION pgml_standin.learn(m pgml.models, task text, s pgml_standin.samples, candidates jsonb[]) RETURNS pgml.models
LANGUAGE plpgsql AS $$
DECLARE
    metric text := pgml_standin.metric_of(task);
    train_rows int := s.n - s.test;
    test_from int := CASE WHEN s.test = 0 THEN 1 ELSE s.n - s.test + 1 END;
    tried jsonb := '[]';
    best jsonb;
    candidate jsonb;
    model jsonb;
    scores jsonb;
    began timestamp;
    fitted timestamp;
BEGIN
    RAISE INFO 'Hyperparameter searches: %, cross validation folds: %', cardinality(candidates),
        coalesce((m.search_args ->> 'cv')::int, CASE WHEN m.search IS NULL THEN 1 ELSE 2 END);
    FOREACH candidate IN ARRAY candidates LOOP
        RAISE INFO 'Hyperparams: %', candidate;
        began := clock_timestamp();
        model := pgml_standin.fit_labels(task, m.algorithm, candidate, s.x[1:train_rows], s.y[1:train_rows]);
        fitted := clock_timestamp();
        RAISE INFO 'Testing % estimator on % test rows', m.algorithm, s.test;
        scores := pgml_standin.score(task, model, s.x[test_from:s.n], s.y[test_from:s.n])
            || jsonb_build_object('fit_time', extract(epoch FROM fitted - began),
                                  'score_time', extract(epoch FROM clock_timestamp() - fitted));
        RAISE INFO 'Metrics: %', scores;
        tried := tried || jsonb_build_array(jsonb_build_object('params', candidate, 'metrics', scores));
        IF best IS NULL OR (scores ->> metric)::float8 > (best -> 'metrics' ->> metric)::float8 THEN
            best := jsonb_build_object('model', model, 'metrics', scores, 'hyperparams', candidate);
        END IF;
    END LOOP;
    scores := best -> 'metrics';
    IF m.search IS NOT NULL THEN
        scores := scores || jsonb_build_object('search_results', tried);
    END IF;
    -- model_bytes makes the file as large as a test wants it.
    INSERT INTO pgml.files (model_id, path, part, data)
    VALUES (m.id, 'estimator.rmp', 0, convert_to(rpad(best ->> 'model', greatest(length(best ->> 'model'),
        coalesce((best -> 'hyperparams' ->> 'model_bytes')::int, 0))), 'UTF8'));
    UPDATE pgml.models SET status = 'successful', metrics = scores, hyperparams = best -> 'hyperparams'
    WHERE id = m.id RETURNING * INTO m;
    RETURN m;
END $$;

-- deploy_if_better deploys a new model unless the live one is strictly better.
CREATE FUNCTION pgml_standin.deploy_if_better(m pgml.models, task text, automatic bool) RETURNS bool
LANGUAGE plpgsql AS $$
DECLARE
    metric text := pgml_standin.metric_of(task);
    live pgml.models;
BEGIN
    IF NOT automatic THEN
        RAISE WARNING 'Automatic deployment disabled via configuration.';
        RETURN false;
    END IF;
    SELECT o.* INTO live FROM pgml.deployments d JOIN pgml.models o ON o.id = d.model_id
    WHERE d.project_id = m.project_id ORDER BY d.created_at DESC LIMIT 1;
    IF (live.metrics ->> metric)::float8 > (m.metrics ->> metric)::float8 THEN
        RAISE WARNING 'New model''s % is not better than current model. New: %, Current %',
            metric, m.metrics ->> metric, live.metrics ->> metric;
        RAISE WARNING 'Not deploying newly trained model.';
        RETURN false;
    END IF;
    PERFORM pgml_standin.deploy_model(m, 'new_score');
    RETURN true;
END $$;

CREATE FUNCTION pgml_standin.train(project_name text, task text, relation_name text, y_column_name text[],
    algorithm pgml.algorithm, hyperparams jsonb, search pgml.search, search_params jsonb, search_args jsonb,
    test_size real, test_sampling pgml.sampling, runtime pgml.runtime, automatic_deploy bool, materialize_snapshot bool,
    preprocess jsonb, OUT project text, OUT of_task text, OUT by_algorithm text, OUT deployed bool) LANGUAGE plpgsql AS $$
DECLARE
    p pgml.projects := pgml_standin.project_for(project_name, task);
    snap pgml.snapshots := pgml_standin.snapshot_for(p, relation_name, y_column_name, test_size, test_sampling,
        materialize_snapshot, preprocess);
    s pgml_standin.samples;
    m pgml.models;
BEGIN
    IF algorithm = 'linear' AND p.task = 'clustering' THEN
        algorithm := 'kmeans';
    ELSIF algorithm = 'linear' AND p.task = 'decomposition' THEN
        algorithm := 'pca';
    END IF;
    IF runtime IS NULL THEN
        runtime := CASE WHEN cardinality(snap.y_column_name) < 2 AND (algorithm IN ('xgboost', 'lightgbm')
                            OR p.task = 'regression' AND algorithm = 'linear') THEN 'rust' ELSE 'python' END;
    END IF;
    s := pgml_standin.read_samples(snap);
    PERFORM pgml_standin.analyse(snap, s);

    INSERT INTO pgml.models (project_id, snapshot_id, num_features, algorithm, runtime, hyperparams, status, search,
        search_params, search_args)
    VALUES (p.id, snap.id, s.d, algorithm::text, runtime, hyperparams, 'in_progress', search::text, search_params, search_args)
    RETURNING * INTO m;
    RAISE INFO 'Training Model { id: %, task: %, algorithm: %, runtime: % }', m.id, p.task, algorithm, runtime;
    m := pgml_standin.learn(m, p.task::text, s,
        pgml_standin.candidates(hyperparams, search, search_params, search_args));

    deployed := pgml_standin.deploy_if_better(m, p.task::text, automatic_deploy);
    project := p.name;
    of_task := p.task::text;
    by_algorithm := m.algorithm;
END $$;

CREATE FUNCTION pgml.train(project_name text, task text DEFAULT NULL, relation_name text DEFAULT NULL,
    y_column_name text DEFAULT NULL, algorithm pgml.algorithm DEFAULT 'linear', hyperparams jsonb DEFAULT '{}',
    search pgml.search DEFAULT NULL, search_params jsonb DEFAULT '{}', search_args jsonb DEFAULT '{}',
    test_size real DEFAULT 0.25, test_sampling pgml.sampling DEFAULT 'stratified', runtime pgml.runtime DEFAULT NULL,
    automatic_deploy bool DEFAULT true, materialize_snapshot bool DEFAULT false, preprocess jsonb DEFAULT '{}')
RETURNS TABLE (project text, task text, algorithm text, deployed bool) LANGUAGE sql AS $$
    SELECT * FROM pgml_standin.train($1, $2, $3, CASE WHEN $4 IS NOT NULL THEN ARRAY[$4] END,
        $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
$$;

CREATE FUNCTION pgml.train_joint(project_name text, task text DEFAULT NULL, relation_name text DEFAULT NULL,
    y_column_name text[] DEFAULT NULL, algorithm pgml.algorithm DEFAULT 'linear', hyperparams jsonb DEFAULT '{}',
    search pgml.search DEFAULT NULL, search_params jsonb DEFAULT '{}', search_args jsonb DEFAULT '{}',
    test_size real DEFAULT 0.25, test_sampling pgml.sampling DEFAULT 'stratified', runtime pgml.runtime DEFAULT NULL,
    automatic_deploy bool DEFAULT true, materialize_snapshot bool DEFAULT false, preprocess jsonb DEFAULT '{}')
RETURNS TABLE (project text, task text, algorithm text, deployed bool) LANGUAGE sql AS $$
    SELECT * FROM pgml_standin.train($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
$$;

-- tune has the real signature, parallel label and errors for what it refuses,
-- and fine-tunes nothing.
CREATE FUNCTION pgml_standin.tune(task text, hyperparams jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF hyperparams ? 'sleep_seconds' THEN
        PERFORM pgml_standin.work_for((hyperparams ->> 'sleep_seconds')::float8);
    END IF;
    RAISE internal_error USING MESSAGE = format('the stand-in cannot fine-tune (task %s)', coalesce(task, 'not given'));
END $$;

CREATE FUNCTION pgml.tune(project_name text, task text DEFAULT NULL, relation_name text DEFAULT NULL,
    _y_column_name text DEFAULT NULL, model_name text DEFAULT NULL, hyperparams jsonb DEFAULT '{}',
    test_size real DEFAULT 0.25, test_sampling pgml.sampling DEFAULT 'stratified', automatic_deploy bool DEFAULT true,
    materialize_snapshot bool DEFAULT false)
RETURNS TABLE (status text, task text, algorithm text, deployed bool) LANGUAGE sql PARALLEL SAFE AS $$
    SELECT $1, $2, 'transformers', false FROM pgml_standin.tune($2, $6)
$$;
