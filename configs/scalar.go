package configs

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// A scalar is a single value of the file. Kind is what YAML takes it for: text,
// number, truth value.
type scalar struct {
	text   string
	kind   string
	quoted bool
}

const (
	textKind   = "text"
	numberKind = "a number"
	truthKind  = "true or false"
)

// scalarOf returns the scalar that n is, if it is one.
func scalarOf(n ast.Node) (scalar, bool) {
	switch t := n.(type) {
	case *ast.StringNode:
		raw := strings.TrimSpace(t.Token.Origin)
		return scalar{t.Value, textKind, strings.HasPrefix(raw, `"`) || strings.HasPrefix(raw, `'`)}, true
	case *ast.LiteralNode:
		return scalar{t.Value.Value, textKind, true}, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return scalar{n.GetToken().Value, numberKind, false}, true
	case *ast.BoolNode:
		return scalar{n.GetToken().Value, truthKind, false}, true
	}
	return scalar{}, false
}

func describe(n ast.Node) string {
	if s, ok := scalarOf(n); ok {
		return s.kind
	}
	switch n.(type) {
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	}
	return "something else"
}

// scalar decodes a single value. Error texts quote what the file says and never
// what a variable held, which may be a secret.
func (d *decoder) scalar(n ast.Node, v reflect.Value, key string) {
	s, ok := scalarOf(n)
	if !ok {
		d.fail(n.GetToken(), beforeToken, key, "found %s where a single value belongs", describe(n))
		return
	}
	text, expanded := s.text, false
	if s.kind == textKind {
		var err error
		if text, expanded, err = expand(s.text, d.getenv); err != nil {
			d.fail(n.GetToken(), wholeLine, key, "%v", err)
			return
		}
		if strings.ContainsRune(text, 0) {
			d.fail(n.GetToken(), wholeLine, key, "a zero byte cannot be part of a value")
			return
		}
	}
	if expanded {
		// A variable has no YAML type; its text may stand for any.
		s.kind, s.quoted = "", false
	}
	err := assign(v, text, s)
	if err == nil {
		return
	}
	if expanded && text != "" {
		err = fmt.Errorf("after expansion of %s this is not valid here: %s", s.text, strings.ReplaceAll(err.Error(), text, mask))
	}
	d.fail(n.GetToken(), wholeLine, key, "%v", err)
}

// assign converts text to the type of v.
func assign(v reflect.Value, text string, s scalar) error {
	switch p := v.Addr().Interface().(type) {
	case *Duration:
		return assignTo(p, text, parseDuration)
	case *Size:
		return assignTo(p, text, parseSize)
	case *Freshness:
		return assignTo(p, text, parseFreshness)
	}
	switch v.Kind() {
	case reflect.Bool:
		if s.kind == textKind || s.kind == numberKind {
			return errors.New("found " + s.kind + " where true or false belongs")
		}
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("write true or false")
		}
		v.SetBool(b)
	case reflect.Int:
		if s.kind == textKind && s.quoted && isNumber(text) {
			return fmt.Errorf("found text where a number belongs; write %s without quotes", text)
		}
		i, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 32)
		if err != nil {
			return errors.New("write a whole number such as 20")
		}
		v.SetInt(i)
	default:
		return assignText(v, text, s)
	}
	return nil
}

func assignText(v reflect.Value, text string, s scalar) error {
	if c, ok := v.Interface().(choice); ok {
		if !slices.Contains(c.choices(), text) {
			if near := nearest(text, c.choices()); near != "" {
				return fmt.Errorf("%q is not possible here; did you mean %q? (%s)", text, near, oneOf(c.choices()))
			}
			return fmt.Errorf("%q is not possible here; write %s", text, oneOf(c.choices()))
		}
	} else if s.kind == numberKind || s.kind == truthKind {
		// YAML has rules of its own for 0123, 1_000 or 1e3; quotes keep what was typed.
		return fmt.Errorf("found %s where text belongs; put it in quotes", s.kind)
	}
	v.SetString(text)
	return nil
}

func assignTo[T any](p *T, text string, parse func(string) (T, error)) error {
	value, err := parse(text)
	if err == nil {
		*p = value
	}
	return err
}

// reference is a variable in a value, or the escape that is none.
var reference = regexp.MustCompile(`\$\$\{|\$\{([^}]*)\}?`)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces each ${NAME} by the variable's value and $${ by ${. It reports
// whether a variable was used. What a variable holds is not expanded again.
func expand(text string, getenv func(string) (string, bool)) (string, bool, error) {
	var faults []string
	used := false
	result := reference.ReplaceAllStringFunc(text, func(m string) string {
		if m == "$${" {
			return "${"
		}
		name, closed := strings.CutSuffix(strings.TrimPrefix(m, "${"), "}")
		value, set := "", false
		switch {
		case !closed || !variableName.MatchString(name):
			faults = append(faults, "a variable is written ${NAME}; for a literal ${ write $${")
			return m
		default:
			if value, set = getenv(name); !set {
				faults = append(faults, "environment variable "+name+" is not set")
			}
		}
		used = true
		return value
	})
	if len(faults) > 0 {
		return "", used, errors.New(strings.Join(faults, "; "))
	}
	return result, used, nil
}
