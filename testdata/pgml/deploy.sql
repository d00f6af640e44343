-- Deployments, and the map of deployed models that all sessions share.
--
-- The real map is shared memory: project id to model id, changed at once and
-- not undone by a rollback. A sequence behaves just so, and there is a fixed
-- set of them, since making one is transactional. A sequence's value holds both
-- ids; a project whose place is taken by another one counts as not in the map.

DO $$
BEGIN
    FOR i IN 0..63 LOOP
        EXECUTE format('CREATE SEQUENCE pgml_standin.slot_%s', i);
        EXECUTE format('GRANT ALL ON SEQUENCE pgml_standin.slot_%s TO PUBLIC', i);
    END LOOP;
END $$;

CREATE FUNCTION pgml_standin.slot(project_id bigint) RETURNS regclass
LANGUAGE sql STABLE AS $$ SELECT ('pgml_standin.slot_' || ($1 % 64))::regclass $$;

-- The map is left alone where setval is refused. The real one would write there.
CREATE FUNCTION pgml_standin.map_set(project_id bigint, model_id bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_read_only') = 'off' THEN
        PERFORM setval(pgml_standin.slot(project_id), (project_id % (1::bigint << 29)) << 33 | model_id);
    END IF;
END $$;

CREATE FUNCTION pgml_standin.map_get(project_id bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v bigint := pg_sequence_last_value(pgml_standin.slot(project_id));
BEGIN
    RETURN CASE WHEN v >> 33 = project_id % (1::bigint << 29) THEN v & ((1::bigint << 33) - 1) END;
END $$;

-- deploy_model loads the model, which proves that it can be, then makes it the
-- project's live one.
CREATE FUNCTION pgml_standin.deploy_model(model pgml.models, strategy pgml.strategy) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    RAISE INFO 'Deploying model id: %', model.id;
    PERFORM pgml_standin.model_by_id(model.id);
    INSERT INTO pgml.deployments (project_id, model_id, strategy) VALUES (model.project_id, model.id, strategy);
    PERFORM pgml_standin.map_set(model.project_id, model.id);
END $$;

CREATE FUNCTION pgml_standin.deploy_id(model_id bigint, OUT project text, OUT strategy text, OUT algorithm text)
LANGUAGE plpgsql AS $$
DECLARE
    m pgml.models;
BEGIN
    SELECT * INTO m FROM pgml.models WHERE id = model_id;
    IF NOT FOUND THEN
        RAISE internal_error USING MESSAGE = format(
            'pgml.models WHERE id = %s could not be loaded. Does it exist?', model_id);
    END IF;
    PERFORM pgml_standin.deploy_model(m, 'specific');
    project := (SELECT name FROM pgml.projects WHERE id = m.project_id);
    strategy := 'specific';
    algorithm := m.algorithm;
END $$;

CREATE FUNCTION pgml.deploy(model_id bigint) RETURNS TABLE (project text, strategy text, algorithm text)
LANGUAGE sql STRICT AS $$ SELECT * FROM pgml_standin.deploy_id($1) $$;

-- metric_of names the score that decides between models of a task.
CREATE FUNCTION pgml_standin.metric_of(task text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE task WHEN 'regression' THEN 'r2' WHEN 'classification' THEN 'f1'
                     WHEN 'clustering' THEN 'silhouette' WHEN 'decomposition' THEN 'cumulative_explained_variance' END
$$;

CREATE FUNCTION pgml_standin.deploy_by(project_name text, how pgml.strategy, wanted pgml.algorithm,
    OUT project text, OUT strategy text, OUT algorithm text) LANGUAGE plpgsql AS $$
DECLARE
    p pgml.projects;
    m pgml.models;
    live bigint;
BEGIN
    SELECT * INTO p FROM pgml.projects WHERE name = project_name;
    IF NOT FOUND THEN
        RAISE internal_error USING MESSAGE = format('Project named `%s` does not exist.', project_name);
    END IF;
    CASE how
    WHEN 'most_recent' THEN
        SELECT * INTO m FROM pgml.models
        WHERE project_id = p.id AND status = 'successful' AND (wanted IS NULL OR models.algorithm = wanted::text)
        ORDER BY created_at DESC LIMIT 1;
    WHEN 'best_score' THEN
        -- As text, like the real one: '9.0' beats '10.0', and '1e-05' beats '0.9'.
        SELECT * INTO m FROM pgml.models
        WHERE project_id = p.id AND status = 'successful' AND (wanted IS NULL OR models.algorithm = wanted::text)
        ORDER BY metrics ->> pgml_standin.metric_of(p.task::text) DESC NULLS LAST LIMIT 1;
    WHEN 'rollback' THEN
        SELECT model_id INTO live FROM pgml.deployments WHERE project_id = p.id ORDER BY created_at DESC LIMIT 1;
        SELECT models.* INTO m FROM pgml.deployments d JOIN pgml.models ON models.id = d.model_id
        WHERE d.project_id = p.id AND d.model_id <> live AND (wanted IS NULL OR models.algorithm = wanted::text)
        ORDER BY d.created_at DESC LIMIT 1;
    ELSE
        RAISE internal_error USING MESSAGE = 'invalid strategy';
    END CASE;
    IF m.id IS NULL THEN
        RAISE internal_error USING MESSAGE = 'No qualified models exist for this deployment.';
    END IF;
    PERFORM pgml_standin.deploy_model(m, how);
    project := p.name;
    strategy := how::text;
    algorithm := m.algorithm;
END $$;

CREATE FUNCTION pgml.deploy(project_name text, strategy pgml.strategy, algorithm pgml.algorithm DEFAULT NULL)
RETURNS TABLE (project text, strategy text, algorithm text)
LANGUAGE sql AS $$ SELECT * FROM pgml_standin.deploy_by($1, $2, $3) $$;

CREATE FUNCTION pgml.dump_all(path text) RETURNS void
LANGUAGE plpgsql STRICT AS $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['projects', 'snapshots', 'models', 'files', 'deployments'] LOOP
        EXECUTE format('COPY pgml.%I TO %L CSV HEADER', t, path || '/' || t || '.csv');
    END LOOP;
END $$;

CREATE FUNCTION pgml.load_all(path text) RETURNS void
LANGUAGE plpgsql STRICT AS $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['projects', 'snapshots', 'models', 'files', 'deployments'] LOOP
        EXECUTE format('COPY pgml.%I FROM %L CSV HEADER', t, path || '/' || t || '.csv');
    END LOOP;
END $$;
