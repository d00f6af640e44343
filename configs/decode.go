package configs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// A decoder fills a Config from the tree of a YAML file. It goes on after a problem,
// so that one run reports them all.
type decoder struct {
	file     string
	lines    []string
	getenv   func(string) (string, bool)
	anchors  map[string]ast.Node
	problems []Problem
	// places says where each key that the file sets has its value; bad holds those
	// whose value could not be read, which validation must not judge again.
	places map[string]*token.Token
	bad    map[string]bool
}

// maxAliases bounds the chain from an alias to its value: a chain may be a circle.
const maxAliases = 16

// How much of the offending line a problem may show. The value of a key we do not
// know, or of the wrong shape, may be a secret.
type excerptRange int

const (
	wholeLine excerptRange = iota
	throughToken
	beforeToken
)

// fail records a problem with the value of key at tok.
func (d *decoder) fail(tok *token.Token, show excerptRange, key, format string, args ...any) {
	p := Problem{File: d.file, Key: key, Text: fmt.Sprintf(format, args...)}
	d.point(&p, tok, show)
	d.bad[key] = true
	d.problems = append(d.problems, p)
}

// point sets the place of a problem.
func (d *decoder) point(p *Problem, tok *token.Token, show excerptRange) {
	if tok == nil || tok.Position == nil {
		return
	}
	p.Line, p.Column = tok.Position.Line, max(1, tok.Position.Column)
	if p.Line < 1 || p.Line > len(d.lines) {
		return
	}
	line := []rune(d.lines[p.Line-1])
	before := min(p.Column-1, len(line))
	switch through := min(before+len([]rune(tok.Value)), len(line)); {
	case show == throughToken && through < len(line):
		line = append(slices.Clone(line[:through]), []rune(" ...")...)
	case show == beforeToken:
		line = append(slices.Clone(line[:before]), []rune("...")...)
	}
	p.Source = excerpt(string(line))
	p.caret = len([]rune(excerpt(string(line[:before]))))
}

// resolve follows anchors, aliases and tags to the node that holds the value, nil
// after a problem.
func (d *decoder) resolve(n ast.Node, key string) ast.Node {
	for range maxAliases {
		switch t := n.(type) {
		case *ast.AnchorNode:
			n = t.Value
		case *ast.AliasNode:
			target, ok := d.anchors[t.Value.GetToken().Value]
			if !ok {
				d.fail(t.GetToken(), wholeLine, key, "no anchor &%s in this file", t.Value.GetToken().Value)
				return nil
			}
			n = target
		case *ast.TagNode:
			d.fail(t.GetToken(), wholeLine, key, "YAML tags such as %s have no meaning here; leave it out", t.GetToken().Value)
			return nil
		case nil:
			return nil
		default:
			return n
		}
	}
	d.fail(n.GetToken(), wholeLine, key, "this alias refers to itself")
	return nil
}

// value decodes n into v, whose key is the path so far. A null leaves the default.
func (d *decoder) value(n ast.Node, v reflect.Value, key string) {
	d.places[key] = n.GetToken()
	if n = d.resolve(n, key); n == nil {
		return
	}
	if _, null := n.(*ast.NullNode); null {
		return
	}
	if v.Type() == reflect.TypeFor[Reads]() {
		if _, short := scalarOf(n); short {
			v = v.FieldByName("To")
		}
	}
	switch {
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[Freshness]():
		d.mapping(n, v, key)
	case v.Kind() == reflect.Slice:
		d.sequence(n, v, key)
	case v.Kind() == reflect.Map:
		d.table(n, v, key)
	default:
		d.scalar(n, v, key)
	}
}

// entries returns the key-value pairs of a mapping, or records what else was found.
func (d *decoder) entries(n ast.Node, key, example string) []*ast.MappingValueNode {
	switch t := n.(type) {
	case *ast.MappingNode:
		return t.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{t}
	}
	d.fail(n.GetToken(), beforeToken, key, "found %s where keys and values belong%s", describe(n), example)
	return nil
}

func (d *decoder) mapping(n ast.Node, v reflect.Value, key string) {
	fields := fieldsOf(v)
	names := make([]string, 0, len(fields))
	for _, f := range fields {
		names = append(names, f.name)
	}
	for _, e := range d.entries(n, key, "; the keys here are "+oneOf(names)) {
		name, tok := e.Key.String(), e.Key.GetToken()
		if s, ok := e.Key.(*ast.StringNode); ok {
			name = s.Value
		}
		i := slices.Index(names, name)
		if i < 0 {
			d.unknown(tok, name, key, names)
			continue
		}
		d.value(e.Value, fields[i].value, join(key, name))
	}
}

func (d *decoder) unknown(tok *token.Token, name, key string, names []string) {
	advice := "the keys here are " + oneOf(names)
	if near := nearest(name, names); near != "" {
		advice = fmt.Sprintf("did you mean %q?", near)
		d.bad[join(key, near)] = true // that it is missing goes without saying
	}
	if name == "<<" {
		advice = "merge keys are not supported; repeat the keys, or use an alias for a whole value"
	}
	d.fail(tok, throughToken, join(key, name), "unknown key; %s", advice)
}

// sequence decodes a list; a single text stands for a list of one where the
// elements are text.
func (d *decoder) sequence(n ast.Node, v reflect.Value, key string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		if _, text := scalarOf(n); text && v.Type().Elem().Kind() == reflect.String {
			element := reflect.New(v.Type().Elem()).Elem()
			d.scalar(n, element, key)
			v.Set(reflect.Append(v, element))
			return
		}
		d.fail(n.GetToken(), beforeToken, key, "found %s where a list belongs; begin each item with \"- \"", describe(n))
		return
	}
	// Sized once: elements are decoded in place.
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, item := range seq.Values {
		if item == nil {
			continue
		}
		d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", key, i))
	}
}

// table decodes a mapping with free keys from text to text.
func (d *decoder) table(n ast.Node, v reflect.Value, key string) {
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range d.entries(n, key, "") {
		name := e.Key.GetToken().Value
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(e.Value, element, join(key, name))
		v.SetMapIndex(reflect.ValueOf(name), element)
	}
}

type field struct {
	name  string
	value reflect.Value
}

// fieldsOf lists the keys of a struct in the order of its fields, inlined ones included.
func fieldsOf(v reflect.Value) []field {
	var fields []field
	for i := range v.NumField() {
		name, option, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		switch {
		case option == "inline":
			fields = append(fields, fieldsOf(v.Field(i))...)
		case name != "" && name != "-":
			fields = append(fields, field{name, v.Field(i)})
		}
	}
	return fields
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// anchorsOf collects the anchors of a document.
type anchorsOf map[string]ast.Node

// Visit implements ast.Visitor.
func (a anchorsOf) Visit(n ast.Node) ast.Visitor {
	if anchor, ok := n.(*ast.AnchorNode); ok && anchor.Name != nil {
		a[anchor.Name.GetToken().Value] = anchor.Value
	}
	return a
}
