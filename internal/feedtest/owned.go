package feedtest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"pgshunt/feed"
)

// Refused has each of the commands, by its name, say why it does not take what another feed has
// made, and returns the way out that they name. run makes a run for each of them.
func Refused(ctx context.Context, why string, run func() *feed.Run, commands map[string]func(context.Context, *feed.Run) error) (next string, err error) {
	for name, do := range commands {
		failed := do(ctx, run())
		var blocked *feed.Blocked
		var one *feed.Error
		text := ""
		switch {
		case errors.As(failed, &blocked):
			for _, p := range blocked.Problems {
				if p.Check == "owner" {
					text, next = p.What, p.Note
				}
			}
		case errors.As(failed, &one):
			text, next = one.Err.Error(), one.Next
		}
		if !strings.Contains(text, why) || next == "" {
			err = errors.Join(err, fmt.Errorf("%s: %v", name, failed))
		}
	}
	return next, err
}
