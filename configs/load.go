package configs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Load reads and validates a configuration file, with the variables of the
// process's environment. The error is an *Error when the content is at fault.
func Load(path string) (*Config, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; name the configuration with -c (configs/minimal.yaml is a start)", err)
	}
	if err != nil {
		return nil, err
	}
	return Parse(path, data, os.LookupEnv)
}

// Parse is Load for content that is at hand. Name appears in messages, and files
// that the content refers to are looked for in its directory.
func Parse(name string, data []byte, getenv func(string) (string, bool)) (*Config, error) {
	d := &decoder{
		file:   name,
		lines:  strings.Split(string(data), "\n"),
		getenv: getenv,
		places: make(map[string]*token.Token),
		bad:    make(map[string]bool),
	}
	c := Default()
	c.File = name
	if body := d.document(data); body != nil {
		anchors := make(anchorsOf)
		ast.Walk(anchors, body)
		d.anchors = anchors
		d.value(body, reflect.ValueOf(c).Elem(), "")
	}
	if d.bad[""] {
		return nil, &Error{d.problems} // there is nothing to judge
	}
	files := &fileReader{dir: filepath.Dir(name)}
	files.config(c)
	c.complete()
	for _, f := range append(files.findings, c.check()...) {
		d.judge(f)
	}
	if len(d.problems) > 0 {
		slices.SortStableFunc(d.problems, func(a, b Problem) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, &Error{d.problems}
	}
	for _, f := range append(files.warnings, c.warn()...) {
		c.Warnings = append(c.Warnings, d.locate(f).String())
	}
	return c, nil
}

// document parses the YAML and returns the body of the only document, nil for an
// empty file or after a problem.
func (d *decoder) document(data []byte) ast.Node {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		if e := yaml.Error(nil); errors.As(err, &e) {
			d.fail(e.GetToken(), wholeLine, "", "not valid YAML: %s", e.GetMessage())
		} else {
			// Its text may quote the input, so it is not passed on.
			d.fail(nil, wholeLine, "", "not valid YAML")
		}
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			d.fail(doc.Body.GetToken(), wholeLine, "", "a second YAML document; one file holds one configuration")
			return nil
		}
		body = doc.Body
	}
	if _, comment := body.(*ast.CommentGroupNode); comment {
		return nil
	}
	return body
}

// A finding is what validation has to say about one key.
type finding struct {
	key, text string
}

// judge turns a finding into a problem, unless the value could not be read in the
// first place.
func (d *decoder) judge(f finding) {
	for key := f.key; key != ""; key = parent(key) {
		if d.bad[key] {
			return
		}
	}
	d.problems = append(d.problems, d.locate(f))
}

// locate finds the place of a finding: that of its key, or else of the nearest key
// above it that the file has.
func (d *decoder) locate(f finding) Problem {
	p := Problem{File: d.file, Key: f.key, Text: f.text}
	for key := f.key; key != ""; key = parent(key) {
		if tok := d.places[key]; tok != nil {
			d.point(&p, tok, wholeLine)
			break
		}
	}
	return p
}

func parent(key string) string {
	return key[:max(strings.LastIndexAny(key, ".["), 0)]
}

// Validate checks a configuration that was put together in Go, filling what is
// derived from other keys. Load and Parse have done so already.
func (c *Config) Validate() error {
	c.complete()
	var problems []Problem
	for _, f := range c.check() {
		problems = append(problems, Problem{File: c.File, Key: f.key, Text: f.text})
	}
	if len(problems) > 0 {
		return &Error{problems}
	}
	return nil
}
