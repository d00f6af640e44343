package pgmltest

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestEmbed(t *testing.T) {
	s := open(t)
	for model, dims := range map[string]int{"intfloat/e5-small-v2": 384, "intfloat/e5-base-v2": 768, "intfloat/e5-large-v2": 1024} {
		v := value[[]float32](s, "SELECT pgml.embed($1, 'a proxy between two databases')", model)
		norm := 0.0
		for _, e := range v {
			norm += float64(e) * float64(e)
		}
		if len(v) != dims || math.Abs(norm-1) > 1e-3 {
			t.Errorf("%s: %d dimensions, squares sum to %v", model, len(v), norm)
		}
	}
	const model = "'intfloat/e5-small-v2'"
	near := value[float64](s, "SELECT pgml.cosine_similarity(pgml.embed("+model+", 'the quick brown fox'), pgml.embed("+model+", 'the brown fox'))::float8")
	far := value[float64](s, "SELECT pgml.cosine_similarity(pgml.embed("+model+", 'the quick brown fox'), pgml.embed("+model+", 'annual financial report'))::float8")
	if near <= far || near > 1.0001 {
		t.Errorf("similar texts %v, different ones %v", near, far)
	}
	same := value[bool](s, "SELECT array_agg(e) = ARRAY[pgml.embed("+model+", 'a'), pgml.embed("+model+", 'b')] FROM pgml.embed("+model+", ARRAY['a', 'b']) e")
	if !same && !real() { // a batch on a GPU may differ in the last digits
		t.Error("embedding two texts at once differs from one at a time")
	}
	if got := value[*[]float32](s, "SELECT pgml.embed("+model+", NULL::text)"); got != nil {
		t.Error("NULL has an embedding")
	}
}

func TestRankAndChunk(t *testing.T) {
	s := open(t)
	names, rows := s.shape(`SELECT * FROM pgml.rank('mixedbread-ai/mxbai-rerank-base-v1', 'wire proxy', ARRAY['about cats', 'a proxy on the wire'], '{"return_documents": true}')`)
	if names != "corpus_id score text" || len(rows) != 2 || !strings.HasPrefix(rows[0], "1|") || !strings.HasSuffix(rows[0], "|a proxy on the wire") {
		t.Errorf("rank: %s %q", names, rows)
	}
	text := strings.Repeat("word ", 60)
	names, rows = s.shape(`SELECT * FROM pgml.chunk('recursive_character', $1, '{"chunk_size": 100, "chunk_overlap": 20}')`, text)
	if names != "chunk_index chunk" || len(rows) < 3 || !strings.HasPrefix(rows[0], "1|word") {
		t.Errorf("chunk: %s %q", names, rows)
	}
	for _, r := range rows {
		if _, chunk, _ := strings.Cut(r, "|"); len(chunk) > 100 {
			t.Errorf("a chunk of %d characters", len(chunk))
		}
	}
}

func TestTransform(t *testing.T) {
	s := open(t)
	const positive = "I love this, it is great"
	for _, task := range []string{"'text-classification'", `'{"task": "text-classification"}'::jsonb`} {
		if got := value[string](s, fmt.Sprintf("SELECT pgml.transform(%s, inputs => ARRAY['%s', 'terrible, awful'])->0->>'label'", task, positive)); got != "POSITIVE" {
			t.Errorf("%s: %s", task, got)
		}
	}
	if got := value[string](s, "SELECT pgml.transform('translation_en_to_fr', inputs => ARRAY['hello'])->0->>'translation_text'"); got == "" {
		t.Error("no translation")
	}
	const chat = `ARRAY['{"role": "user", "content": "hello there"}'::jsonb]`
	if got := value[string](s, `SELECT pgml.transform('{"task": "conversational"}'::jsonb, inputs => `+chat+`)->0->>'generated_text'`); got == "" {
		t.Error("no answer in a conversation")
	}
	if err := s.fails(`SELECT pgml.transform('{"task": "text-generation"}'::jsonb, inputs => ` + chat + `)`); err.Code != "XX000" {
		t.Errorf("messages for another task: %s %s", err.Code, err.Message)
	}
	if err := s.fails("SELECT pgml.transform('no-such-task', inputs => ARRAY['x'])"); err.Code != "XX000" {
		t.Errorf("unknown task: %s %s", err.Code, err.Message)
	}
}

func TestTransformStreamThroughACursor(t *testing.T) {
	s := open(t)
	s.exec("BEGIN")
	s.exec("DECLARE c CURSOR FOR SELECT pgml.transform_stream(task => 'text-generation', input => 'one two three')")
	if got := column[string](s, "FETCH 1 FROM c"); len(got) != 1 || got[0] == "" {
		t.Errorf("first piece: %q", got)
	}
	if got := column[string](s, "FETCH ALL FROM c"); len(got) < 2 {
		t.Errorf("the rest: %q", got)
	}
	s.exec("COMMIT")
}
