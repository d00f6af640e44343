package migrate

import (
	"crypto/sha256"
	"encoding/hex"
)

// hash names a text.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
