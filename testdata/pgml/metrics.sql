-- Scores of a fit, under the names that PostgresML gives them.

CREATE FUNCTION pgml_standin.regression_metrics(y float8[], y_hat float8[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object(
        'r2', coalesce(1 - sum((a - b) ^ 2) / nullif(sum((a - m) ^ 2), 0), 0),
        'mean_absolute_error', avg(abs(a - b)),
        'mean_squared_error', avg((a - b) ^ 2))
    FROM unnest(y, y_hat) t(a, b), (SELECT avg(v) AS m FROM unnest(y) v) mean
$$;

-- Macro averages over the classes, as PostgresML reports them for more than two.
CREATE FUNCTION pgml_standin.classification_metrics(y float8[], y_hat float8[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    WITH pairs AS (SELECT a, b FROM unnest(y, y_hat) t(a, b)),
    per_class AS (
        SELECT c, count(*) FILTER (WHERE a = c AND b = c)::float8 AS hit,
               count(*) FILTER (WHERE a = c)::float8 AS actual, count(*) FILTER (WHERE b = c)::float8 AS predicted
        FROM pairs, (SELECT DISTINCT v AS c FROM unnest(y || y_hat) v) classes GROUP BY c),
    totals AS (
        SELECT sum(hit) AS hit, (SELECT count(*) FROM pairs)::float8 AS n, sum(actual * predicted) AS mixed,
               sum(actual ^ 2) AS actual2, sum(predicted ^ 2) AS predicted2,
               avg(coalesce(hit / nullif(predicted, 0), 0)) AS precision,
               avg(coalesce(hit / nullif(actual, 0), 0)) AS recall,
               avg(coalesce(2 * hit / nullif(actual + predicted, 0), 0)) AS f1
        FROM per_class)
    SELECT jsonb_build_object('f1', f1, 'precision', precision, 'recall', recall, 'accuracy', hit / n,
        'mcc', coalesce((hit * n - mixed) / nullif(sqrt((n ^ 2 - predicted2) * (n ^ 2 - actual2)), 0), 0),
        -- of one operating point, since the labels alone are known here
        'roc_auc', recall)
    FROM totals
$$;

-- silhouette is over at most 200 rows: it compares each row with each.
CREATE FUNCTION pgml_standin.silhouette(x float8[], labels int[]) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$
    WITH picked AS (SELECT r FROM generate_series(1, least(200, array_length(x, 1))) r),
    distances AS (
        SELECT a.r, labels[b.r] AS label,
               avg(sqrt((SELECT sum((x[a.r][i] - x[b.r][i]) ^ 2) FROM generate_series(1, array_length(x, 2)) i))) AS dist
        FROM picked a JOIN picked b ON a.r <> b.r GROUP BY a.r, labels[b.r]),
    per_row AS (
        SELECT r, max(dist) FILTER (WHERE label = labels[r]) AS own, min(dist) FILTER (WHERE label <> labels[r]) AS other
        FROM distances GROUP BY r)
    SELECT coalesce(avg(coalesce((other - own) / nullif(greatest(other, own), 0), 0)), 0) FROM per_row
$$;
