-- The catalogue: enums, tables, triggers and views as PostgresML 2.10.0 has
-- them, and the schema that holds the stand-in's own workings. No table is
-- registered with pg_extension_config_dump, so that pg_dump carries no models,
-- exactly as with the real extension.

CREATE SCHEMA pgml_standin;
COMMENT ON SCHEMA pgml_standin IS 'inner workings of the PostgresML stand-in; the real extension has no such schema';
GRANT USAGE ON SCHEMA pgml_standin TO PUBLIC;

CREATE TYPE pgml.algorithm AS ENUM (
    'linear', 'xgboost', 'xgboost_random_forest', 'svm', 'lasso', 'elastic_net', 'ridge', 'kmeans', 'dbscan', 'knn',
    'random_forest', 'least_angle', 'lasso_least_angle', 'orthogonal_matching_pursuit', 'bayesian_ridge',
    'automatic_relevance_determination', 'stochastic_gradient_descent', 'perceptron', 'passive_aggressive', 'ransac',
    'theil_sen', 'huber', 'quantile', 'kernel_ridge', 'gaussian_process', 'nu_svm', 'ada_boost', 'bagging',
    'extra_trees', 'gradient_boosting_trees', 'hist_gradient_boosting', 'linear_svm', 'lightgbm', 'transformers',
    'catboost', 'affinity_propagation', 'birch', 'feature_agglomeration', 'mini_batch_kmeans', 'mean_shift', 'optics',
    'spectral', 'spectral_bi', 'spectral_co', 'pca');
CREATE TYPE pgml.runtime AS ENUM ('python', 'rust', 'openai');
CREATE TYPE pgml.sampling AS ENUM ('random', 'last', 'stratified');
CREATE TYPE pgml.search AS ENUM ('grid', 'random');
CREATE TYPE pgml.status AS ENUM ('in_progress', 'successful', 'failed');
CREATE TYPE pgml.strategy AS ENUM ('new_score', 'best_score', 'most_recent', 'rollback', 'specific');
CREATE TYPE pgml.task AS ENUM (
    'regression', 'classification', 'decomposition', 'clustering', 'question_answering', 'summarization',
    'translation', 'text_classification', 'text_generation', 'text2text', 'embedding', 'text_pair_classification',
    'conversation');

CREATE FUNCTION pgml.set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Fails on pgml.deployments, which has no such column: the real one does too.
    IF NEW IS DISTINCT FROM OLD AND NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at THEN
        NEW.updated_at := clock_timestamp();
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION pgml.auto_updated_at(tbl regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    bare text := (SELECT relname FROM pg_class WHERE oid = tbl);
BEGIN
    EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', bare || '_auto_updated_at', tbl);
    EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION pgml.set_updated_at()',
        bare || '_auto_updated_at', tbl);
END $$;

CREATE TABLE pgml.projects (
    id bigserial PRIMARY KEY,
    name text NOT NULL,
    task pgml.task NOT NULL,
    created_at timestamp NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamp NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX projects_name_idx ON pgml.projects (name);

CREATE TABLE pgml.snapshots (
    id bigserial PRIMARY KEY,
    relation_name text NOT NULL,
    y_column_name text[] NOT NULL,
    test_size real NOT NULL,
    test_sampling pgml.sampling NOT NULL,
    status text NOT NULL,
    columns jsonb,
    analysis jsonb,
    created_at timestamp NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamp NOT NULL DEFAULT clock_timestamp(),
    materialized boolean DEFAULT false
);

CREATE TABLE pgml.models (
    id bigserial PRIMARY KEY,
    project_id bigint NOT NULL,
    snapshot_id bigint NOT NULL,
    num_features int NOT NULL,
    algorithm text NOT NULL,
    runtime pgml.runtime DEFAULT 'python',
    hyperparams jsonb NOT NULL,
    status text NOT NULL,
    metrics jsonb,
    search text,
    search_params jsonb NOT NULL,
    search_args jsonb NOT NULL,
    created_at timestamp NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamp NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT project_id_fk FOREIGN KEY (project_id) REFERENCES pgml.projects (id) ON DELETE CASCADE,
    CONSTRAINT snapshot_id_fk FOREIGN KEY (snapshot_id) REFERENCES pgml.snapshots (id) ON DELETE SET NULL
);
CREATE INDEX models_project_id_idx ON pgml.models (project_id);
CREATE INDEX models_snapshot_id_idx ON pgml.models (snapshot_id);

CREATE TABLE pgml.deployments (
    id bigserial PRIMARY KEY,
    project_id bigint NOT NULL,
    model_id bigint NOT NULL,
    strategy pgml.strategy NOT NULL,
    created_at timestamp NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT project_id_fk FOREIGN KEY (project_id) REFERENCES pgml.projects (id) ON DELETE CASCADE,
    CONSTRAINT model_id_fk FOREIGN KEY (model_id) REFERENCES pgml.models (id) ON DELETE CASCADE
);
CREATE INDEX deployments_project_id_created_at_idx ON pgml.deployments (project_id);
CREATE INDEX deployments_model_id_created_at_idx ON pgml.deployments (model_id);

CREATE TABLE pgml.files (
    id bigserial PRIMARY KEY,
    model_id bigint NOT NULL,
    path text NOT NULL,
    part int NOT NULL,
    created_at timestamp NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamp NOT NULL DEFAULT clock_timestamp(),
    data bytea NOT NULL,
    CONSTRAINT model_id_fk FOREIGN KEY (model_id) REFERENCES pgml.models (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX files_model_id_path_part_idx ON pgml.files (model_id, path, part);

SELECT pgml.auto_updated_at(t::regclass)
FROM unnest(ARRAY['pgml.projects', 'pgml.snapshots', 'pgml.models', 'pgml.deployments', 'pgml.files']) t;

CREATE VIEW pgml.overview AS
SELECT p.name, d.created_at AS deployed_at, p.task, m.algorithm, m.runtime,
       s.relation_name, s.y_column_name, s.test_sampling, s.test_size
FROM pgml.projects p
JOIN pgml.models m ON m.project_id = p.id
JOIN pgml.deployments d ON d.project_id = p.id AND d.model_id = m.id
JOIN pgml.snapshots s ON s.id = m.snapshot_id
ORDER BY d.created_at DESC;

CREATE VIEW pgml.trained_models AS
SELECT m.id, p.name, p.task, m.algorithm, m.runtime, m.created_at,
       s.test_sampling, s.test_size, d.model_id IS NOT NULL AS deployed
FROM pgml.projects p
JOIN pgml.models m ON m.project_id = p.id
JOIN pgml.snapshots s ON s.id = m.snapshot_id
LEFT JOIN (SELECT DISTINCT ON (project_id) project_id, model_id, created_at
           FROM pgml.deployments ORDER BY project_id, created_at DESC) d ON d.model_id = m.id
ORDER BY m.created_at DESC;

CREATE VIEW pgml.deployed_models AS
SELECT m.id, p.name, p.task, m.algorithm, m.runtime, d.created_at AS deployed_at
FROM pgml.projects p
JOIN (SELECT DISTINCT ON (project_id) project_id, model_id, created_at
      FROM pgml.deployments ORDER BY project_id, created_at DESC) d ON d.project_id = p.id
JOIN pgml.models m ON m.id = d.model_id
ORDER BY p.name;
