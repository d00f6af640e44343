package feed

import (
	"fmt"
	"strings"
)

// Blocked is the error of a feed that cannot be set up as things are. Nothing has been
// changed when it is returned.
type Blocked struct {
	Replica string
	// Problems are what was found, also what does not block.
	Problems []Problem
}

// Block makes a *Blocked of the problems, or nil if none of them blocks.
func (r *Run) Block(problems []Problem) error {
	for _, p := range problems {
		if p.Blocks {
			return &Blocked{Replica: r.Replica.Name, Problems: problems}
		}
	}
	return nil
}

// Error says all that blocks in one line, with the remedies.
func (b *Blocked) Error() string {
	var texts []string
	for _, p := range b.Problems {
		if !p.Blocks {
			continue
		}
		text := p.Says()
		for _, more := range []string{p.Remedy, p.Note} {
			if more != "" {
				text += "; " + strings.TrimSuffix(more, ";")
			}
		}
		texts = append(texts, text)
	}
	return fmt.Sprintf("the feed of %s is blocked: %s", b.Replica, strings.Join(texts, " | "))
}
