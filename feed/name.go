package feed

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Quote writes a name as SQL, qualified by schema unless that is "".
func Quote(schema, name string) string {
	if schema == "" {
		return pgx.Identifier{name}.Sanitize()
	}
	return pgx.Identifier{schema, name}.Sanitize()
}

// Literal writes a text as SQL, whatever standard_conforming_strings says.
func Literal(text string) string {
	text = strings.ReplaceAll(text, "'", "''")
	if strings.Contains(text, `\`) {
		return "E'" + strings.ReplaceAll(text, `\`, `\\`) + "'"
	}
	return "'" + text + "'"
}

// maxName is NAMEDATALEN - 1.
const maxName = 63

// Name is what a feed calls its publication, its slot and its subscription, and its
// foreign server: pgshunt_DATABASE_REPLICA, with the primary's database since slots are
// the whole server's. Where characters had to be replaced or cut (a slot's name has only
// a to z, 0 to 9 and _) a part of a hash keeps two feeds apart.
func Name(database, replica string) string {
	want := "pgshunt_" + database + "_" + replica
	have := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, want)
	if have == want && len(have) <= maxName {
		return have
	}
	sum := sha256.Sum256([]byte(database + "\x00" + replica))
	const digits = 8
	return have[:min(len(have), maxName-digits-1)] + "_" + hex.EncodeToString(sum[:digits/2])
}
