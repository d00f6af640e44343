package migrate

import (
	"regexp"
	"strconv"
	"strings"
)

// typeForm is a type as format_type writes it: its name and its modifiers.
var typeForm = regexp.MustCompile(`^([a-z ]+?)(?:\((\d+)(?:,(-?\d+))?\))?( without time zone| with time zone)?$`)

type sqlType struct {
	name   string
	mods   []int
	parsed bool
}

func readType(text string) sqlType {
	m := typeForm.FindStringSubmatch(text)
	if m == nil {
		return sqlType{name: text}
	}
	t := sqlType{name: m[1] + m[4], parsed: true}
	for _, mod := range m[2:4] {
		if mod != "" {
			n, err := strconv.Atoi(mod)
			if err != nil {
				return sqlType{name: text}
			}
			t.mods = append(t.mods, n)
		}
	}
	return t
}

// numbers are types whose texts each later one reads, as the value that a cast makes.
var numbers = map[string]int{"smallint": 1, "integer": 2, "bigint": 3, "numeric": 4}

// wider tells whether every value of from is one of to, its text is read as the value that
// the cast makes of it, and the cast is one that ALTER TABLE makes without USING. Then a
// replica that has to already gets the same value whenever the primary converts.
func wider(from, to string) bool {
	a, b := readType(from), readType(to)
	if !a.parsed || !b.parsed || from == to {
		return false
	}
	switch {
	case numbers[a.name] > 0 && numbers[b.name] > numbers[a.name]:
		return len(b.mods) == 0
	case a.name == "numeric" && b.name == "numeric":
		// numeric(p,s) keeps its scale; a column without one keeps what comes.
		return len(a.mods) > 0 && (len(b.mods) == 0 || len(a.mods) == 2 && len(b.mods) == 2 && a.mods[1] == b.mods[1] && b.mods[0] > a.mods[0])
	case a.name == "character varying" && b.name == "character varying":
		return len(b.mods) == 0 || len(a.mods) > 0 && b.mods[0] > a.mods[0]
	case a.name == "character varying" && b.name == "text":
		return true
	case a.name == "text" && b.name == "character varying":
		return len(b.mods) == 0
	case a.name == b.name && strings.HasPrefix(a.name, "timestamp") || a.name == b.name && strings.HasPrefix(a.name, "time w"):
		return len(a.mods) == 1 && (len(b.mods) == 0 || b.mods[0] > a.mods[0])
	case a.name == "date":
		return b.name == "timestamp without time zone" && len(b.mods) == 0
	case a.name == "json":
		return b.name == "jsonb"
	}
	return false
}

// narrower tells whether to is a type whose values are all values of from, and whose
// texts from reads without loss, so that a replica which still has from can take what
// comes, and convert all of it later as the primary did at once.
func narrower(from, to string) bool {
	a, b := readType(from), readType(to)
	if !a.parsed || !b.parsed || from == to {
		return false
	}
	switch {
	case numbers[b.name] > 0 && numbers[a.name] > numbers[b.name]:
		// Also from numeric, which is rounded: new rows come rounded, and old ones are then.
		return len(a.mods) == 0
	case a.name == "numeric" && b.name == "numeric":
		return len(a.mods) == 0 && len(b.mods) > 0 || len(a.mods) == 2 && len(b.mods) == 2 && b.mods[1] <= a.mods[1] && b.mods[0]-b.mods[1] <= a.mods[0]-a.mods[1]
	case (a.name == "character varying" || a.name == "text") && b.name == "character varying":
		return len(b.mods) == 1 && (len(a.mods) == 0 || b.mods[0] < a.mods[0])
	case a.name == b.name && strings.HasPrefix(a.name, "timestamp") || a.name == b.name && strings.HasPrefix(a.name, "time w"):
		return len(b.mods) == 1 && (len(a.mods) == 0 || b.mods[0] < a.mods[0])
	}
	return false
}

// typeName is a type by schema and name, as situation.users has it.
func typeName(schema, name string) string { return schema + "." + name }

// userType takes a type that format_type has written with its schema apart, "" for one of
// pg_catalog. What is an array of it counts as the type itself.
func userType(text string) (schema, name string) {
	text = strings.TrimSuffix(text, "[]")
	parts := splitName(text)
	if len(parts) != 2 {
		return "", ""
	}
	return parts[0], parts[1]
}

// splitName splits a qualified name at dots outside of quotes and takes the quotes off.
func splitName(text string) (parts []string) {
	var part strings.Builder
	inside := false
	for i := 0; i < len(text); i++ {
		switch ch := text[i]; {
		case ch == '"' && inside && i+1 < len(text) && text[i+1] == '"':
			part.WriteByte('"')
			i++
		case ch == '"':
			inside = !inside
		case ch == '.' && !inside:
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(ch)
		}
	}
	return append(parts, part.String())
}
