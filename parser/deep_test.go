package parser

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// deep are texts whose trees are as deep as they are long; the argument is the length.
var deep = map[string]func(n int) string{
	"brackets":   func(n int) string { return "SELECT " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n) },
	"arrays":     func(n int) string { return "SELECT ARRAY" + strings.Repeat("[", n) + "1" + strings.Repeat("]", n) },
	"calls":      func(n int) string { return "SELECT " + strings.Repeat("f(", n) + "1" + strings.Repeat(")", n) },
	"subqueries": func(n int) string { return "SELECT " + strings.Repeat("(SELECT ", n) + "1" + strings.Repeat(")", n) },
	"subqueries in from": func(n int) string {
		return strings.Repeat("SELECT * FROM (", n) + "SELECT 1" + strings.Repeat(") x", n)
	},
	"with": func(n int) string {
		return strings.Repeat("WITH x AS (", n) + "SELECT 1" + strings.Repeat(") SELECT 1", n)
	},
	"exists": func(n int) string {
		return "SELECT 1 WHERE " + strings.Repeat("EXISTS (SELECT 1 WHERE ", n) + "true" + strings.Repeat(")", n)
	},
	"plus":                   func(n int) string { return "SELECT 1" + strings.Repeat("+1", n) },
	"minus signs":            func(n int) string { return "SELECT " + strings.Repeat("- ", n) + "1" },
	"not":                    func(n int) string { return "SELECT " + strings.Repeat("NOT ", n) + "true" },
	"casts":                  func(n int) string { return "SELECT 1" + strings.Repeat("::int", n) },
	"collate":                func(n int) string { return "SELECT a" + strings.Repeat(` COLLATE "C"`, n) },
	"at time zone":           func(n int) string { return "SELECT a" + strings.Repeat(" AT TIME ZONE b", n) },
	"is null":                func(n int) string { return "SELECT a" + strings.Repeat(" IS NULL", n) },
	"operators and brackets": func(n int) string { return "SELECT " + strings.Repeat("1+(", n) + "1" + strings.Repeat(")", n) },
	"and in brackets": func(n int) string {
		return "SELECT " + strings.Repeat("a AND (b OR (", n) + "c" + strings.Repeat("))", n)
	},
	"plus between and":   func(n int) string { return "SELECT a" + strings.Repeat(" = 1 AND b", n) },
	"union":              func(n int) string { return "SELECT 1" + strings.Repeat(" UNION SELECT 1", n) },
	"union and end":      func(n int) string { return "SELECT 1 AS end" + strings.Repeat(" UNION SELECT 1 AS end", n) },
	"union in brackets":  func(n int) string { return strings.Repeat("(", n) + "SELECT 1" + strings.Repeat(" UNION SELECT 1)", n) },
	"joins":              func(n int) string { return "SELECT FROM a" + strings.Repeat(" CROSS JOIN a", n) },
	"joins and end":      func(n int) string { return "SELECT FROM a" + strings.Repeat(" JOIN a ON a.end", n) },
	"joins to the right": func(n int) string { return "SELECT FROM a" + strings.Repeat(" JOIN a", n) + strings.Repeat(" ON b", n) },
	"case": func(n int) string {
		return "SELECT " + strings.Repeat("CASE WHEN a THEN ", n) + "1" + strings.Repeat(" END", n)
	},
	"case else": func(n int) string {
		return "SELECT " + strings.Repeat("CASE WHEN a THEN b ELSE ", n) + "1" + strings.Repeat(" END", n)
	},
	"subscripts":  func(n int) string { return "SELECT a" + strings.Repeat("[1]", n) },
	"fields":      func(n int) string { return "SELECT (a)" + strings.Repeat(".b", n) },
	"list":        func(n int) string { return "SELECT 1" + strings.Repeat(", 1", n) },
	"in list":     func(n int) string { return "SELECT 1 IN (1" + strings.Repeat(", 1", n) + ")" },
	"values":      func(n int) string { return "VALUES (1)" + strings.Repeat(", (1)", n) },
	"statements":  func(n int) string { return strings.Repeat("SELECT 1;", n) },
	"like escape": func(n int) string { return "SELECT a" + strings.Repeat(" || b", n) },
	"plpgsql if": func(n int) string {
		return "DO $$ BEGIN " + strings.Repeat("IF a THEN ", n) + strings.Repeat("END IF; ", n) + "END $$"
	},
	"plpgsql begin": func(n int) string { return "DO $$ " + strings.Repeat("BEGIN ", n) + strings.Repeat("END; ", n) + "$$" },
	"plpgsql loop": func(n int) string {
		return "DO $$ BEGIN " + strings.Repeat("LOOP ", n) + strings.Repeat("END LOOP; ", n) + "END $$"
	},
	"plpgsql for": func(n int) string {
		return "DO $$ BEGIN " + strings.Repeat("FOR i IN 1..2 LOOP ", n) + strings.Repeat("END LOOP; ", n) + "END $$"
	},
	"plpgsql while": func(n int) string {
		return "DO $$ BEGIN " + strings.Repeat("WHILE a LOOP ", n) + strings.Repeat("END LOOP; ", n) + "END $$"
	},
	"plpgsql case": func(n int) string {
		return "DO $$ BEGIN " + strings.Repeat("CASE WHEN a THEN ", n) + strings.Repeat("END CASE; ", n) + "END $$"
	},
	"plpgsql elsif": func(n int) string {
		return "DO $$ BEGIN IF a THEN " + strings.Repeat("ELSIF b THEN ", n) + "END IF; END $$"
	},
	"plpgsql foreach": func(n int) string {
		return "DO $$ BEGIN " + strings.Repeat("FOREACH i IN ARRAY a LOOP ", n) + strings.Repeat("END LOOP; ", n) + "END $$"
	},
	"plpgsql declare": func(n int) string {
		return "DO $$ " + strings.Repeat("DECLARE a int; BEGIN ", n) + strings.Repeat("END; ", n) + "$$"
	},
	"plpgsql comments": func(n int) string {
		return "DO $$ BEGIN " + strings.Repeat("/* ", n) + strings.Repeat("*/ ", n) + "END $$"
	},
	"plpgsql expression": func(n int) string { return "DO $$ BEGIN PERFORM 1" + strings.Repeat("+1", n) + "; END $$" },
	"comments":           func(n int) string { return "SELECT 1 " + strings.Repeat("/*", n) + strings.Repeat("*/", n) },
	"atomic": func(n int) string {
		return "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC " + strings.Repeat("SELECT (SELECT 1);", n) + " END"
	},
	"grouping sets": func(n int) string {
		return "SELECT 1 GROUP BY " + strings.Repeat("GROUPING SETS (", n) + "a" + strings.Repeat(")", n)
	},
	"xml": func(n int) string {
		return "SELECT " + strings.Repeat("XMLELEMENT(NAME a, ", n) + "b" + strings.Repeat(")", n)
	},
	"rows":            func(n int) string { return "SELECT " + strings.Repeat("ROW(", n) + "1" + strings.Repeat(")", n) },
	"schema elements": func(n int) string { return "CREATE SCHEMA s" + strings.Repeat(" CREATE TABLE a (b int)", n) },
}

// TestDeepTextsNeedLittleStack parses texts as deep as the limits let through, in a
// process whose threads have less stack than any usual one. A crash there is one that a
// session could cause.
func TestDeepTextsNeedLittleStack(t *testing.T) {
	const child = "PGSHUNT_DEEP_TEXTS"
	if os.Getenv(child) == "" {
		cmd := exec.Command("sh", "-c", `ulimit -s 1280; exec "$0" "$@"`, os.Args[0], "-test.run=^TestDeepTextsNeedLittleStack$", "-test.v")
		cmd.Env = append(os.Environ(), child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out[:min(len(out), 3000)])
		}
		return
	}
	for name, text := range deep {
		unit := len(text(101)) - len(text(100))
		for _, n := range []int{maxNesting - 5, maxChain/3 - 5, maxChain/2 - 5, 5*maxNesting - 5, maxChain - 5, DefaultMaxParse/unit - 20} {
			if n <= 2*maxChain {
				t.Log(name, n, Parse(text(n)).Unparsed)
			}
		}
	}
}
