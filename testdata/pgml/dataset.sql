-- load_dataset. The data itself, pgml_standin.dataset_csv(name), is generated
-- from testdata/datasets when the script is put together.

CREATE FUNCTION pgml_standin.load_dataset(source text, "limit" bigint, OUT table_name text, OUT rows bigint)
LANGUAGE plpgsql AS $$
DECLARE
    csv text := pgml_standin.dataset_csv(source);
    header text[];
BEGIN
    IF csv IS NULL THEN
        RAISE internal_error USING MESSAGE = format('the stand-in has the datasets diabetes and iris, not %s', source);
    END IF;
    header := string_to_array(split_part(csv, E'\n', 1), ',');
    table_name := 'pgml.' || source;
    EXECUTE format('DROP TABLE IF EXISTS %s CASCADE', table_name);
    EXECUTE format('CREATE TABLE %s (%s)', table_name, (
        SELECT string_agg(format('%I %s', h, CASE h WHEN 'target' THEN 'int' ELSE 'real' END), ', ' ORDER BY i)
        FROM unnest(header) WITH ORDINALITY t(h, i)));
    EXECUTE format('INSERT INTO %s SELECT %s FROM (SELECT string_to_array(line, '','') AS v
                    FROM regexp_split_to_table($1, ''\n'') WITH ORDINALITY t(line, n)
                    WHERE n > 1 AND line <> '''' ORDER BY n LIMIT $2) r', table_name, (
        SELECT string_agg(format('v[%s]::%s', i, CASE h WHEN 'target' THEN 'float8::int' ELSE 'real' END), ', ' ORDER BY i)
        FROM unnest(header) WITH ORDINALITY t(h, i))) USING csv, "limit";
    GET DIAGNOSTICS rows = ROW_COUNT;
END $$;

CREATE FUNCTION pgml.load_dataset(source text, subset text DEFAULT NULL, "limit" bigint DEFAULT NULL, kwargs jsonb DEFAULT '{}')
RETURNS TABLE (table_name text, rows bigint) LANGUAGE sql AS $$ SELECT * FROM pgml_standin.load_dataset($1, $3) $$;
