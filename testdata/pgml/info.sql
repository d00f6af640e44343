-- What a server says about itself, and functions that only touch the Python
-- side of the real extension, which does not exist here.

CREATE FUNCTION pgml.version() RETURNS text
LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT '2.10.0 (pgshunt stand-in, not PostgresML)' $$;

CREATE FUNCTION pgml.python_version() RETURNS text
LANGUAGE sql STRICT AS $$ SELECT 'none (pgshunt stand-in)' $$;

CREATE FUNCTION pgml.python_package_version(name text) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    RAISE internal_error USING MESSAGE = format('No package metadata was found for %s (the stand-in has no Python)', name);
END $$;

CREATE FUNCTION pgml.python_pip_freeze() RETURNS TABLE (package text)
LANGUAGE sql STRICT AS $$ SELECT ''::text WHERE false $$;

CREATE FUNCTION pgml.validate_python_dependencies() RETURNS bool
LANGUAGE sql IMMUTABLE STRICT AS $$ SELECT true $$;

CREATE FUNCTION pgml.validate_shared_library() RETURNS void
LANGUAGE sql STRICT AS $$ $$;

CREATE FUNCTION pgml.xgboost_version() RETURNS text
LANGUAGE sql STRICT AS $$ SELECT 'none (pgshunt stand-in)' $$;

CREATE FUNCTION pgml.activate_venv(venv text) RETURNS bool
LANGUAGE sql STRICT AS $$ SELECT false $$;

CREATE FUNCTION pgml.clear_gpu_cache(memory_usage real DEFAULT NULL) RETURNS bool
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT true $$;

CREATE FUNCTION pgml.sklearn_r2_score(ground_truth real[], y_hat real[]) RETURNS real
LANGUAGE sql STRICT AS $$ SELECT (pgml_standin.regression_metrics($1::float8[], $2::float8[]) ->> 'r2')::real $$;

CREATE FUNCTION pgml.sklearn_f1_score(ground_truth real[], y_hat real[]) RETURNS real
LANGUAGE sql STRICT AS $$ SELECT (pgml_standin.classification_metrics($1::float8[], $2::float8[]) ->> 'f1')::real $$;

CREATE FUNCTION pgml.sklearn_regression_metrics(ground_truth real[], y_hat real[]) RETURNS jsonb
LANGUAGE sql STRICT AS $$ SELECT pgml_standin.regression_metrics($1::float8[], $2::float8[]) $$;

CREATE FUNCTION pgml.sklearn_classification_metrics(ground_truth real[], y_hat real[], num_classes bigint) RETURNS jsonb
LANGUAGE sql STRICT AS $$ SELECT pgml_standin.classification_metrics($1::float8[], $2::float8[]) $$;
