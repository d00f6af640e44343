-- transform and its kin: the shapes of answers that Hugging Face pipelines give,
-- made by simple rules from the words.

-- sentiment counts words of two short lists; the score grows with their lead.
CREATE FUNCTION pgml_standin.sentiment(input text) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('label', CASE WHEN lead < 0 THEN 'NEGATIVE' ELSE 'POSITIVE' END,
                              'score', 1 - 0.5 / (1 + abs(lead)))
    FROM (SELECT count(*) FILTER (WHERE w IN ('good', 'great', 'love', 'loved', 'excellent', 'amazing', 'happy', 'best',
                                              'nice', 'wonderful', 'like', 'glad', 'fast'))
               - count(*) FILTER (WHERE w IN ('bad', 'terrible', 'hate', 'hated', 'awful', 'worst', 'sad', 'horrible',
                                              'angry', 'poor', 'broken', 'slow', 'not')) AS lead
          FROM pgml_standin.words(input) w) t
$$;

CREATE FUNCTION pgml_standin.first_sentence(input text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$ SELECT coalesce(substring(input FROM '^.*?[.!?]'), input) $$;

-- answer is what one input gives under a task, in the task's own shape.
CREATE FUNCTION pgml_standin.answer(task text, input text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    given jsonb;
BEGIN
    CASE
    WHEN task IN ('sentiment-analysis', 'text-classification') THEN
        RETURN pgml_standin.sentiment(input);
    WHEN task LIKE 'translation%' THEN
        RETURN jsonb_build_object('translation_text', upper(input));
    WHEN task = 'summarization' THEN
        RETURN jsonb_build_object('summary_text', pgml_standin.first_sentence(input));
    WHEN task = 'question-answering' THEN
        given := input::jsonb;
        RETURN jsonb_build_object('answer', pgml_standin.first_sentence(given ->> 'context'), 'score', 0.9, 'start', 0,
            'end', length(pgml_standin.first_sentence(given ->> 'context')));
    WHEN task IN ('text-generation', 'text2text-generation', 'conversational') THEN
        RETURN jsonb_build_object('generated_text', input || ' (and so on)');
    WHEN task = 'token-classification' THEN
        RETURN (SELECT jsonb_agg(jsonb_build_object('word', w, 'entity', 'O', 'score', 0.9)) FROM pgml_standin.words(input) w);
    ELSE
        RAISE internal_error USING MESSAGE = format('the stand-in has no pipeline for task %s', coalesce(task, 'NULL'));
    END CASE;
END $$;

-- task_of: a task is given as a name or as an object that has it.
CREATE FUNCTION pgml_standin.task_of(task jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE jsonb_typeof(task) WHEN 'string' THEN task #>> '{}' ELSE task ->> 'task' END
$$;

-- text-generation answers come as a list per input, all others as they are.
CREATE FUNCTION pgml_standin.transform(task text, inputs text[]) RETURNS jsonb
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(jsonb_agg(CASE WHEN task = 'text-generation' THEN jsonb_build_array(pgml_standin.answer(task, i))
                                   ELSE pgml_standin.answer(task, i) END ORDER BY o), '[]')
    FROM unnest(inputs) WITH ORDINALITY t(i, o)
$$;

CREATE FUNCTION pgml_standin.converse(task text, inputs jsonb[]) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF task IS DISTINCT FROM 'conversational' THEN
        RAISE internal_error USING MESSAGE = 'ARRAY[]::JSONB inputs for transform should only be used with a conversational task';
    END IF;
    RETURN inputs[cardinality(inputs)] ->> 'content';
END $$;

CREATE FUNCTION pgml.transform(task text, args jsonb DEFAULT '{}', inputs text[] DEFAULT '{}', cache bool DEFAULT false)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN pgml_standin.transform($1, $3);
END $$;

CREATE FUNCTION pgml.transform(task jsonb, args jsonb DEFAULT '{}', inputs text[] DEFAULT '{}', cache bool DEFAULT false)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN pgml_standin.transform(pgml_standin.task_of($1), $3);
END $$;

CREATE FUNCTION pgml.transform(task text, args jsonb DEFAULT '{}', inputs jsonb[] DEFAULT '{}', cache bool DEFAULT false)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN jsonb_build_array(pgml_standin.answer('conversational', pgml_standin.converse($1, $3)));
END $$;

CREATE FUNCTION pgml.transform(task jsonb, args jsonb DEFAULT '{}', inputs jsonb[] DEFAULT '{}', cache bool DEFAULT false)
RETURNS jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN jsonb_build_array(pgml_standin.answer('conversational', pgml_standin.converse(pgml_standin.task_of($1), $3)));
END $$;

-- stream gives an answer's text word by word.
CREATE FUNCTION pgml_standin.stream(task text, input text) RETURNS SETOF jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF task NOT IN ('text-generation', 'conversational') THEN
        RAISE internal_error USING MESSAGE = 'transform_stream only supports text-generation and conversational tasks';
    END IF;
    RETURN QUERY
        SELECT to_jsonb(w[1]) FROM regexp_matches(pgml_standin.answer(task, input) ->> 'generated_text', '\S+\s*', 'g') w;
END $$;

CREATE FUNCTION pgml.transform_stream(task text, args jsonb DEFAULT '{}', input text DEFAULT '', cache bool DEFAULT false)
RETURNS SETOF jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY SELECT pgml_standin.stream($1, $3);
END $$;

CREATE FUNCTION pgml.transform_stream(task jsonb, args jsonb DEFAULT '{}', input text DEFAULT '', cache bool DEFAULT false)
RETURNS SETOF jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY SELECT pgml_standin.stream(pgml_standin.task_of($1), $3);
END $$;

CREATE FUNCTION pgml.transform_stream(task text, args jsonb DEFAULT '{}', inputs jsonb[] DEFAULT '{}', cache bool DEFAULT false)
RETURNS SETOF jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY SELECT pgml_standin.stream('conversational', pgml_standin.converse($1, $3));
END $$;

CREATE FUNCTION pgml.transform_stream(task jsonb, args jsonb DEFAULT '{}', inputs jsonb[] DEFAULT '{}', cache bool DEFAULT false)
RETURNS SETOF jsonb LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY SELECT pgml_standin.stream('conversational', pgml_standin.converse(pgml_standin.task_of($1), $3));
END $$;

-- generate needs a fine-tuned language model, and tune makes none here.
CREATE FUNCTION pgml.generate(project_name text, inputs text, config jsonb DEFAULT '{}') RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    PERFORM pgml_standin.model_by_name($1);
    RAISE internal_error USING MESSAGE = 'generate needs a fine-tuned language model, which the stand-in cannot have';
END $$;

CREATE FUNCTION pgml.generate(project_name text, inputs text[], config jsonb DEFAULT '{}') RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    PERFORM pgml_standin.model_by_name($1);
    RAISE internal_error USING MESSAGE = 'generate needs a fine-tuned language model, which the stand-in cannot have';
END $$;
