package schema

import (
	"bytes"
	"regexp"
)

// namedNotNull is since when NOT NULL is a constraint with a name.
const namedNotNull = 18

var (
	createTable = regexp.MustCompile(`^CREATE (?:UNLOGGED )?TABLE ((?:"[^"]*"|[^"\s])+)(?: OF (?:"[^"]*"|[^"\s])+)? \(\n`)
	// heirsNotNull is NOT NULL of a column that the table has inherited. pg_dump 18.6 writes no
	// quotation marks around its name.
	heirsNotNull = regexp.MustCompile(`^    (?:CONSTRAINT [^(\n]+ )?NOT NULL ((?:"[^"]*"|[^"\s,])+),?\n`)
)

// spellNotNull is a text of pg_dump's with ALTER TABLE after each table that says NOT NULL of
// columns which it has inherited: PostgreSQL has no words for that within CREATE TABLE before
// 18. What looks like it within a literal stays.
func spellNotNull(text string) string {
	var out []byte
	table, after := "", ""
	for begins := true; len(text) > 0; { // a line does
		if begins {
			if m := createTable.FindStringSubmatch(text); m != nil {
				table = m[1]
			} else if m := heirsNotNull.FindStringSubmatch(text); m != nil && table != "" {
				after += "ALTER TABLE ONLY " + table + " ALTER COLUMN " + m[1] + " SET NOT NULL;\n"
				text = text[len(m[0]):]
				continue
			} else if table != "" && text[0] == ')' {
				if list, cut := bytes.CutSuffix(out, []byte(",\n")); cut { // the last one is gone
					out = append(list, '\n')
				}
				table = ""
			}
		}
		n := token(text)
		out = append(out, text[:n]...)
		begins, text = text[n-1] == '\n', text[n:]
		if table == "" && bytes.HasSuffix(out, []byte(";\n")) {
			out = append(out, after...)
			after = ""
		}
	}
	return string(out)
}
