package router

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"pgshunt/internal/glob"
)

// Config is what the operator may decide. The zero value is the safe default: reads
// go to the primary, training leaves the transaction it is called in, anybody may
// give hints.
type Config struct {
	// Reads is "primary" or "replica"; "" is "primary". With MaxLag, which is 0 for no
	// bound, a replica is used only while it is known to be no further behind than that.
	Reads  string
	MaxLag time.Duration
	// Inference is what reads that call PostgresML ask of a replica whose tables they read,
	// Training what training asks of the project's home.
	Inference, Training Requirement
	// InTransaction is "detach" or "reject"; "" is "detach".
	InTransaction string
	// Rules are tried in order before the built-in order.
	Rules []Rule
	// HintUsers are the users whose hints count; empty means everybody's.
	HintUsers Patterns
}

// Requirement is how fresh the data of a replica must be, and what to do about one
// that is not. The zero value asks for nothing.
type Requirement struct {
	Freshness Freshness
	// Wait bounds the time that a statement waits for it; 0 is not at all.
	Wait time.Duration
	// OrPrimary lets the primary answer where no replica is fresh in time, or none is
	// there, if it has what the statement needs.
	OrPrimary bool
}

// Rule sends what it matches to one place, or answers it with an error.
type Rule struct {
	Match Match
	// To is "primary", "replica" or the name of a replica.
	To string
	// Reject is the message of the error; such a rule has no To.
	Reject string
	// Freshness takes the place of what Config asks for where it asks for anything.
	Freshness Freshness
	// OnStale says what answers where no replica is fresh in time or there at all:
	// "primary", if it has what the statement needs, or "error"; "" leaves that to Config.
	OnStale string
	// Timeout bounds the run of the statement; 0 leaves that to the session.
	Timeout time.Duration
}

// Match holds the conditions of a rule. Without Kind, a rule that sends to a replica is
// about all kinds but write and schema: those must be named.
//
// All that are set must hold; one with several
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
	// Project is matched by statements that name their project as a constant.
	Project Patterns
	// Transaction is "inside" or "outside" a transaction block; "" is both.
	Transaction string
}

// Policy is a compiled Config. It is immutable and may be used by any number of
// goroutines.
type Policy struct {
	readsReplica bool
	maxLag       time.Duration
	inference    Requirement
	training     Requirement
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
	p := &Policy{hintUsers: cfg.HintUsers, maxLag: cfg.MaxLag, inference: cfg.Inference, training: cfg.Training}
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
		switch r.Match.Transaction {
		case "", blockInside, blockOutside:
		default:
			return nil, fmt.Errorf("%s: transaction %q is neither inside nor outside", name, r.Match.Transaction)
		}
		switch {
		case r.OnStale != "" && r.OnStale != toPrimary && r.OnStale != onStaleError:
			return nil, fmt.Errorf("%s: on_stale: %q is neither primary nor error", name, r.OnStale)
		case r.OnStale != "" && (r.Reject != "" || r.To == toPrimary):
			return nil, fmt.Errorf("%s: on_stale is for what is sent to replicas", name)
		}
		if r.Reject != "" && (!r.Freshness.Any() || r.Timeout != 0) {
			return nil, fmt.Errorf("%s: freshness and timeout are for statements that run", name)
		}
		p.rules = append(p.rules, rule{Rule: r, name: name})
	}
	return p, nil
}

const (
	toPrimary = "primary"
	toReplica = "replica"

	onStaleError = "error"

	blockInside  = "inside"
	blockOutside = "outside"
)

func knownClass(pattern string) bool {
	for _, name := range classNames {
		if glob.Match(pattern, name) {
			return true
		}
	}
	return false
}
