package migrate

import (
	"fmt"

	"pgshunt/feed"
)

// refuse makes a Refusal; args are those of why.
func refuse(why, advice string, args ...any) error {
	return &Refusal{Why: fmt.Sprintf(why, args...), Advice: advice}
}

// alter is an ALTER TABLE of a fed table.
func alter(c *Change, format string, args ...any) string {
	return "ALTER TABLE " + feed.Quote(c.Schema, c.Name) + " " + fmt.Sprintf(format, args...)
}

func quoted(name string) string { return feed.Quote("", name) }
