package router

import (
	"fmt"
	"strconv"
	"strings"

	"pgshunt/internal/glob"
)

// Config is what the operator may decide. The zero value is the safe default: reads
// go to the primary, training leaves the transaction it is called in, anybody may
// give hints.
type Config struct {
	// Reads is "primary" or "replica"; "" is "primary".
	Reads string
	// InTransaction is "detach" or "reject"; "" is "detach".
	InTransaction string
	// Rules are tried in order before the built-in order.
	Rules []Rule
	// HintUsers are the users whose hints count; empty means everybody's.
	HintUsers Patterns
}

// Rule sends what it matches to one place, or answers it with an error.
type Rule struct {
	Match Match
	// To is "primary", "replica" or the name of a replica.
	To string
	// Reject is the message of the error; such a rule has no To.
	Reject string
}

// Match holds the conditions of a rule. All that are set must hold; one with several
// patterns holds when any of them does.
//
// Relation and Schema look at the relations that the statement reads, writes or
// defines. For a rule that rejects or sends to the primary it is enough that one of
// them matches. For a rule that sends to a replica all must match, but for those of
// pg_catalog, information_schema and pgml, which a replica has in any case: else a
// join with a table that is not there would be sent along. A name without a schema
// counts as one in the first schema of search_path but the user's own.
type Match struct {
	Relation, Function, Schema  Patterns
	User, Database, Application Patterns
	// Kind holds names of classes: read, write, schema, inference, training, catalog.
	Kind Patterns
}

// Policy is a compiled Config. It is immutable and may be used by any number of
// goroutines.
type Policy struct {
	readsReplica bool
	reject       bool
	hintUsers    Patterns
	rules        []rule
}

type rule struct {
	Rule
	name string // "rules[n]"
}

// NewPolicy checks cfg and compiles it.
func NewPolicy(cfg Config) (*Policy, error) {
	p := &Policy{hintUsers: cfg.HintUsers}
	switch cfg.Reads {
	case "", toPrimary:
	case toReplica:
		p.readsReplica = true
	default:
		return nil, fmt.Errorf("reads: %q is neither primary nor replica", cfg.Reads)
	}
	switch cfg.InTransaction {
	case "", "detach":
	case "reject":
		p.reject = true
	default:
		return nil, fmt.Errorf("in_transaction: %q is neither detach nor reject", cfg.InTransaction)
	}
	for i, r := range cfg.Rules {
		name := "rules[" + strconv.Itoa(i) + "]"
		if (r.To == "") == (r.Reject == "") {
			return nil, fmt.Errorf("%s: exactly one of to and reject is needed", name)
		}
		for _, kind := range r.Match.Kind {
			if !knownClass(strings.TrimPrefix(kind, "!")) {
				return nil, fmt.Errorf("%s: kind %q is none of %s", name, kind, strings.Join(classNames[:], ", "))
			}
		}
		p.rules = append(p.rules, rule{Rule: r, name: name})
	}
	return p, nil
}

const (
	toPrimary = "primary"
	toReplica = "replica"
)

func knownClass(pattern string) bool {
	for _, name := range classNames {
		if glob.Match(pattern, name) {
			return true
		}
	}
	return false
}
