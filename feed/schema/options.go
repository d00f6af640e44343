package schema

import (
	"regexp"
	"slices"
	"strings"
)

// ColumnOption is a pattern, of PostgreSQL and of Go alike, of what pg_attribute.attoptions holds
// that somebody has set: the options of a column that PostgreSQL documents. A server keeps other
// things of its own there (17.12: pg_attver, of every column), which no other server
// takes. Trying them does not tell: 17.12 accepts pg_attver in ALTER TABLE, and ignores it.
const ColumnOption = `^n_distinct(_inherited)?=`

// columnCompression is since when columns have a COMPRESSION.
const columnCompression = 14

var (
	columnOption = regexp.MustCompile(ColumnOption)
	// setOptions is the line by which pg_dump sets options of a column.
	setOptions = regexp.MustCompile(`^(ALTER (?:FOREIGN )?TABLE ONLY (?:"[^"]*"|[^"\s])+ ALTER COLUMN (?:"[^"]*"|[^"\s])+ SET \()([^()\n]*)(\);\n)`)
	// setCompression is the line by which it says how values of a column are compressed.
	setCompression = regexp.MustCompile(`^ALTER TABLE ONLY (?:"[^"]*"|[^"\s])+ ALTER COLUMN (?:"[^"]*"|[^"\s])+ SET COMPRESSION \w+;\n`)
	dollar         = regexp.MustCompile(`^\$(?:[\pL_][\pL_0-9]*)?\$`)
)

// settable is a text of pg_dump's without options of columns that are the primary's own. A
// pg_dump of the primary's version leaves them out; that of another, even minor, does not
// know them.
func settable(text string) string {
	return rewrite(text, func(text string) (int, string) {
		m := setOptions.FindStringSubmatch(text)
		if m == nil {
			return 0, ""
		}
		options := slices.DeleteFunc(strings.Split(m[2], ", "), func(o string) bool { return !columnOption.MatchString(o) })
		if len(options) == 0 {
			return len(m[0]), ""
		}
		return len(m[0]), m[1] + strings.Join(options, ", ") + m[3]
	})
}

// withoutCompression is a text of pg_dump's without COMPRESSION of columns, which came with
// PostgreSQL 14. It is of how rows are stored, and no two servers need to agree on it.
func withoutCompression(text string) string {
	return rewrite(text, func(text string) (int, string) { return len(setCompression.FindString(text)), "" })
}

// rewrite copies a text of pg_dump's. At each line that begins outside a literal, change may take
// bytes off the text and have others written instead; it takes none where nothing changes.
func rewrite(text string, change func(text string) (taken int, instead string)) string {
	var b strings.Builder
	begins := true // a line does
	for len(text) > 0 {
		n, instead := 0, ""
		if begins {
			n, instead = change(text)
		}
		if n > 0 {
			b.WriteString(instead)
		} else {
			n = token(text)
			b.WriteString(text[:n])
		}
		begins, text = text[n-1] == '\n', text[n:]
	}
	return b.String()
}

// token is the length of the literal, quoted name or comment that text begins with, else that of
// what comes before the next. A doubled quotation mark is two literals side by side, and
// pg_dump writes none with a backslash before it.
func token(text string) int {
	end := func(from int, mark string) int {
		if n := strings.Index(text[from:], mark); n >= 0 {
			return from + n + len(mark)
		}
		return len(text)
	}
	switch {
	case text[0] == '\n': // an empty line's
		return 1
	case text[0] == '\'' || text[0] == '"':
		return end(1, text[:1])
	case strings.HasPrefix(text, "--"):
		return end(2, "\n")
	}
	if mark := dollar.FindString(text); mark != "" {
		return end(len(mark), mark)
	}
	if n := strings.IndexAny(text[1:], "'\"-$\n"); n >= 0 {
		if text[1+n] == '\n' {
			n++
		}
		return 1 + n
	}
	return len(text)
}
