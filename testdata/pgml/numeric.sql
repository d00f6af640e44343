-- Linear algebra and fitting, on plain arrays: x is a matrix of rows (x[r][i]),
-- y a vector, w weights. Sums over rows are SQL aggregates, which are an order
-- of magnitude faster here than PL/pgSQL loops.

-- solve returns v with a v = b for a symmetric positive semidefinite a (row by
-- row in one dimension), by Gauss-Jordan elimination that always pivots on the
-- largest diagonal element left. Where a is singular, as with collinear
-- features, the coefficients that cannot be told apart are 0.
CREATE FUNCTION pgml_standin.solve(a float8[], b float8[]) RETURNS float8[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    d int := cardinality(b);
    used bool[] := array_fill(false, ARRAY[d]);
    v float8[] := array_fill(0::float8, ARRAY[d]);
    tolerance float8 := 0;
    pivot int;
    f float8;
BEGIN
    FOR i IN 1..d LOOP
        tolerance := greatest(tolerance, a[(i-1)*d + i] * 1e-12);
    END LOOP;
    FOR step IN 1..d LOOP
        pivot := NULL;
        FOR i IN 1..d LOOP
            IF NOT used[i] AND a[(i-1)*d + i] > tolerance
               AND (pivot IS NULL OR a[(i-1)*d + i] > a[(pivot-1)*d + pivot]) THEN
                pivot := i;
            END IF;
        END LOOP;
        EXIT WHEN pivot IS NULL;
        used[pivot] := true;
        FOR r IN 1..d LOOP
            CONTINUE WHEN r = pivot;
            f := a[(r-1)*d + pivot] / a[(pivot-1)*d + pivot];
            CONTINUE WHEN f = 0;
            FOR c IN 1..d LOOP
                a[(r-1)*d + c] := a[(r-1)*d + c] - f * a[(pivot-1)*d + c];
            END LOOP;
            b[r] := b[r] - f * b[pivot];
        END LOOP;
    END LOOP;
    FOR i IN 1..d LOOP
        IF used[i] THEN
            v[i] := b[i] / a[(i-1)*d + i];
        END IF;
    END LOOP;
    RETURN v;
END $$;

CREATE FUNCTION pgml_standin.column_means(x float8[]) RETURNS float8[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(m ORDER BY i)
    FROM (SELECT i, avg(x[r][i]) AS m
          FROM generate_series(1, array_length(x, 1)) r, generate_series(1, array_length(x, 2)) i GROUP BY i) t
$$;

CREATE FUNCTION pgml_standin.centred(x float8[], means float8[]) RETURNS float8[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(v ORDER BY r)
    FROM (SELECT r, array_agg(x[r][i] - means[i] ORDER BY i) AS v
          FROM generate_series(1, array_length(x, 1)) r, generate_series(1, array_length(x, 2)) i GROUP BY r) t
$$;

-- gram is x' diag(w) x; a NULL w stands for ones.
CREATE FUNCTION pgml_standin.gram(x float8[], w float8[] DEFAULT NULL) RETURNS float8[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(s ORDER BY i, j)
    FROM (SELECT i, j, sum(x[r][i] * x[r][j] * coalesce(w[r], 1)) AS s
          FROM generate_series(1, array_length(x, 1)) r,
               generate_series(1, array_length(x, 2)) i, generate_series(1, array_length(x, 2)) j
          GROUP BY i, j) t
$$;

-- transposed_times is x' v, times is x v.
CREATE FUNCTION pgml_standin.transposed_times(x float8[], v float8[]) RETURNS float8[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(s ORDER BY i)
    FROM (SELECT i, sum(x[r][i] * v[r]) AS s
          FROM generate_series(1, array_length(x, 1)) r, generate_series(1, array_length(x, 2)) i GROUP BY i) t
$$;

CREATE FUNCTION pgml_standin.times(x float8[], v float8[]) RETURNS float8[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(s ORDER BY r)
    FROM (SELECT r, sum(x[r][i] * v[i]) AS s
          FROM generate_series(1, array_length(x, 1)) r, generate_series(1, array_length(x, 2)) i GROUP BY r) t
$$;

-- fit_linear is least squares with an L2 penalty alpha on the coefficients (0:
-- ordinary). Centring keeps the intercept out of the penalty and the equations
-- well conditioned.
CREATE FUNCTION pgml_standin.fit_linear(x float8[], y float8[], alpha float8) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    d int := array_length(x, 2);
    mx float8[] := pgml_standin.column_means(x);
    my float8 := (SELECT avg(v) FROM unnest(y) v);
    xc float8[] := pgml_standin.centred(x, mx);
    a float8[] := pgml_standin.gram(xc);
    coef float8[];
BEGIN
    FOR i IN 1..d LOOP
        a[(i-1)*d + i] := a[(i-1)*d + i] + alpha;
    END LOOP;
    coef := pgml_standin.solve(a, pgml_standin.transposed_times(xc, ARRAY(SELECT v - my FROM unnest(y) v)));
    RETURN jsonb_build_object('kind', 'linear', 'coef', to_jsonb(coef),
        'intercept', my - (SELECT sum(c * m) FROM unnest(coef, mx) t(c, m)));
END $$;

-- fit_binary is logistic regression by iteratively reweighted least squares,
-- with penalty lambda on all coefficients but the last, the intercept's. t is 0
-- or 1 per row; x has a last column of ones.
CREATE FUNCTION pgml_standin.fit_binary(x float8[], t float8[], lambda float8) RETURNS float8[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    d int := array_length(x, 2);
    w float8[] := array_fill(0::float8, ARRAY[d]);
    p float8[];
    h float8[];
    g float8[];
    step float8[];
BEGIN
    FOR round IN 1..25 LOOP
        p := ARRAY(SELECT 1 / (1 + exp(-greatest(-30, least(30, e)))) FROM unnest(pgml_standin.times(x, w)) e);
        h := pgml_standin.gram(x, ARRAY(SELECT greatest(q * (1 - q), 1e-9) FROM unnest(p) q));
        g := pgml_standin.transposed_times(x, ARRAY(SELECT a - q FROM unnest(t, p) u(a, q)));
        FOR i IN 1..d - 1 LOOP
            h[(i-1)*d + i] := h[(i-1)*d + i] + lambda;
            g[i] := g[i] - lambda * w[i];
        END LOOP;
        step := pgml_standin.solve(h, g);
        w := ARRAY(SELECT a + b FROM unnest(w, step) u(a, b));
        EXIT WHEN (SELECT max(abs(s)) FROM unnest(step) s) < 1e-6;
    END LOOP;
    RETURN w;
END $$;

-- fit_logistic is one classifier for two classes, one per class for more.
CREATE FUNCTION pgml_standin.fit_logistic(x float8[], y float8[], c float8) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    classes float8[] := ARRAY(SELECT DISTINCT v FROM unnest(y) v ORDER BY v);
    with_ones float8[] := (
        SELECT array_agg(v ORDER BY r)
        FROM (SELECT r, array_agg(x[r][i] ORDER BY i) || 1::float8 AS v
              FROM generate_series(1, array_length(x, 1)) r, generate_series(1, array_length(x, 2)) i GROUP BY r) t);
    weights jsonb := '[]';
    class float8;
BEGIN
    IF cardinality(classes) < 2 THEN
        RAISE internal_error USING MESSAGE = format(
            'This solver needs samples of at least 2 classes in the data, but the data contains only one class: %s', classes[1]);
    END IF;
    FOREACH class IN ARRAY CASE WHEN cardinality(classes) = 2 THEN classes[2:2] ELSE classes END LOOP
        weights := weights || jsonb_build_array(to_jsonb(pgml_standin.fit_binary(
            with_ones, ARRAY(SELECT (v = class)::int::float8 FROM unnest(y) v), 1 / c)));
    END LOOP;
    RETURN jsonb_build_object('kind', 'logistic', 'classes', to_jsonb(classes), 'weights', weights);
END $$;

CREATE FUNCTION pgml_standin.nearest(x float8[], centroids float8[]) RETURNS int[]
LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(k ORDER BY r)
    FROM (SELECT DISTINCT ON (r) r, k
          FROM (SELECT r, k, sum((x[r][i] - centroids[k][i]) ^ 2) AS dist
                FROM generate_series(1, array_length(x, 1)) r, generate_series(1, array_length(centroids, 1)) k,
                     generate_series(1, array_length(x, 2)) i
                GROUP BY r, k) t
          ORDER BY r, dist, k) t
$$;

-- fit_kmeans is Lloyd's algorithm from the first row and then always the row
-- farthest from those chosen: no random numbers, the same clusters every time.
CREATE FUNCTION pgml_standin.fit_kmeans(x float8[], clusters int) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    n int := array_length(x, 1);
    d int := array_length(x, 2);
    centroids float8[] := x[1:1];
    far int;
    labels int[];
    previous int[];
BEGIN
    FOR k IN 2..least(clusters, n) LOOP
        SELECT r INTO far
        FROM (SELECT r, min(dist) AS dist
              FROM (SELECT r, c, sum((x[r][i] - centroids[c][i]) ^ 2) AS dist
                    FROM generate_series(1, n) r, generate_series(1, k - 1) c, generate_series(1, d) i
                    GROUP BY r, c) t GROUP BY r) t
        ORDER BY dist DESC, r LIMIT 1;
        centroids := centroids || x[far:far];
    END LOOP;
    FOR round IN 1..100 LOOP
        labels := pgml_standin.nearest(x, centroids);
        EXIT WHEN labels = previous;
        previous := labels;
        SELECT array_agg(v ORDER BY k) INTO centroids
        FROM (SELECT k, array_agg(m ORDER BY i) AS v
              FROM (SELECT labels[r] AS k, i, avg(x[r][i]) AS m
                    FROM generate_series(1, n) r, generate_series(1, d) i GROUP BY labels[r], i) t
              GROUP BY k) t;
    END LOOP;
    RETURN jsonb_build_object('kind', 'kmeans', 'centroids', to_jsonb(centroids));
END $$;

-- fit_pca finds the principal components by power iteration with deflation.
CREATE FUNCTION pgml_standin.fit_pca(x float8[], components int) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    n int := array_length(x, 1);
    d int := array_length(x, 2);
    means float8[] := pgml_standin.column_means(x);
    cov float8[] := ARRAY(SELECT v / greatest(n - 1, 1) FROM unnest(pgml_standin.gram(pgml_standin.centred(x, means))) v);
    total float8 := (SELECT sum(cov[(i-1)*d + i]) FROM generate_series(1, d) i);
    found jsonb := '[]';
    explained float8 := 0;
    v float8[];
    av float8[];
    norm float8;
BEGIN
    FOR c IN 1..least(components, d) LOOP
        v := ARRAY(SELECT 1.0::float8 / (i + c) FROM generate_series(1, d) i);
        FOR round IN 1..200 LOOP
            av := ARRAY(SELECT sum(cov[(i-1)*d + j] * v[j])
                        FROM generate_series(1, d) i, generate_series(1, d) j GROUP BY i ORDER BY i);
            norm := sqrt((SELECT sum(e * e) FROM unnest(av) e));
            EXIT WHEN norm < 1e-12;
            av := ARRAY(SELECT e / norm FROM unnest(av) e);
            EXIT WHEN (SELECT sum(abs(a - b)) FROM unnest(av, v) t(a, b)) < 1e-9;
            v := av;
        END LOOP;
        EXIT WHEN norm < 1e-12;
        found := found || jsonb_build_array(to_jsonb(v));
        explained := explained + norm;
        cov := ARRAY(SELECT cov[(i-1)*d + j] - norm * v[i] * v[j]
                     FROM generate_series(1, d) i, generate_series(1, d) j ORDER BY i, j);
    END LOOP;
    RETURN jsonb_build_object('kind', 'pca', 'means', to_jsonb(means), 'components', found,
        'explained', explained / nullif(total, 0));
END $$;
