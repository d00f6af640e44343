package parser

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v5"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// FuzzParse: no text makes Parse panic; its parts lie in the text in order; a text whose
// tree writes has Writes; no function call of the tree is missing from Calls; and a
// Statement that may be shared has no fact that its literals decide.
func FuzzParse(f *testing.F) {
	for _, sql := range append(corpusTexts(f), everywhere) {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, text string) {
		st := Parse(text)
		end := 0
		for _, p := range st.Parts {
			if p.Start < end || p.End < p.Start || p.End > len(text) {
				t.Fatalf("%q: a part from %d to %d after %d", text, p.Start, p.End, end)
			}
			end = p.End
		}
		if st.Unparsed != "" {
			return
		}
		tree, err := pg.Parse(text)
		if err != nil {
			t.Fatalf("%q: %v, but it was parsed", text, err)
		}
		for i, raw := range tree.Stmts {
			calls, writes := 0, 0
			count(raw.Stmt.ProtoReflect(), &calls, &writes)
			p := &st.Parts[i]
			if writes > 0 && len(p.Writes) == 0 {
				t.Fatalf("%q: writes, but Writes is empty", text)
			}
			if len(p.Calls) < calls {
				t.Fatalf("%q: %d calls, but Calls has %d", text, calls, len(p.Calls))
			}
		}
	})
}

// count counts function calls and writes in a tree by reflection alone. Bodies that
// are stored and not run now do not count as writing.
func count(m protoreflect.Message, calls, writes *int) {
	switch m.Descriptor().Name() {
	case "FuncCall":
		*calls++
	case "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "TruncateStmt":
		*writes++
	case "CopyStmt":
		if m.Interface().(*pg.CopyStmt).IsFrom {
			*writes++
		}
	case "ViewStmt", "RuleStmt", "CreateFunctionStmt":
		ignored := 0
		writes = &ignored
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Message() == nil:
		case fd.IsList():
			for i := range v.List().Len() {
				count(v.List().Get(i).Message(), calls, writes)
			}
		default:
			count(v.Message(), calls, writes)
		}
		return true
	})
}

// corpusTexts are the statements of testdata/routes.
func corpusTexts(tb testing.TB) (texts []string) {
	tb.Helper()
	files, err := filepath.Glob("../testdata/routes/*.json")
	if err != nil {
		tb.Fatal(err)
	}
	line := regexp.MustCompile(`"sql": "(.*)"`)
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		for _, m := range line.FindAllStringSubmatch(string(raw), -1) {
			texts = append(texts, strings.NewReplacer(`\"`, `"`, `\n`, "\n", `\\`, `\`).Replace(m[1]))
		}
	}
	return texts
}
