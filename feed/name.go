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
// the whole server's. No two feeds of a server have one name: an underscore of the database
// is written twice, so that the first that stands alone is where the replica begins. What
// that does not tell apart, is too long, or has characters that a slot's name may not have
// (it has a to z, 0 to 9 and _) begins with two underscores instead, as no other
// does, and ends in a part of a hash.
func Name(database, replica string) string {
	const prefix = "pgshunt_"
	have := prefix + strings.ReplaceAll(database, "_", "__") + "_" + replica
	if plain(database) && plain(replica) && len(have) <= maxName {
		return have
	}
	readable := strings.Map(func(r rune) rune {
		if strings.ContainsRune(slotRunes, r) {
			return r
		}
		return '_'
	}, database+"_"+replica)
	sum := sha256.Sum256([]byte(database + "\x00" + replica))
	hash := "_" + hex.EncodeToString(sum[:8])
	return prefix + "_" + readable[:min(len(readable), maxName-len(prefix)-1-len(hash))] + hash
}

const slotRunes = "abcdefghijklmnopqrstuvwxyz0123456789_"

// plain tells whether a name may stand in that of a slot as it is. An underscore in front
// could be one of two.
func plain(name string) bool {
	return !strings.HasPrefix(name, "_") && strings.Trim(name, slotRunes) == ""
}
