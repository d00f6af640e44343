package router

import (
	"time"

	"pgshunt/internal/pgerr"
)

// Place is which kind of server a statement goes to.
type Place uint8

const (
	// Primary is the production server.
	Primary Place = iota
	// Replica is a PostgresML server.
	Replica
	// Stay is wherever the session is: the transaction's server, or the pinned one.
	Stay
	// Refused means that no server gets the statement; Decision.Err says why.
	Refused
)

// Class says what kind of work a statement is, in the terms of the routing order.
type Class uint8

const (
	Read Class = iota
	Write
	Schema // DDL
	Inference
	Training // train, tune, deploy and the rest of model administration
	Describe // reads of schema pgml
	Session  // SET, transactions, cursors, prepared statements and the like
	Opaque   // could not be parsed
)

// Decision is where one statement goes and why. It holds no pointer into the
// session and making one allocates nothing, except with Err.
type Decision struct {
	Place Place
	// Target names one replica; "" lets Pick choose among Candidates.
	Target string
	// Candidates are the replicas that may run the statement, as bits by their index in
	// Fleet.Targets; 0 where Target names the only one.
	Candidates uint64
	Class      Class
	// Rule is the name of the built-in rule or "rules[n]" of the config.
	Rule string
	// Reason is a phrase a person can read; Subject is what it is about, such as
	// "pgml.predict", or "". Text joins them.
	Reason, Subject string
	// Detached is set for training inside a transaction block: it runs and commits on its own.
	Detached bool
	// Project is the PostgresML project that the statement names as a constant;
	// ProjectParam is n where it is $n. "" and 0 where there is none or it cannot be told.
	Project      string
	ProjectParam int
	// SourceParam is n where the relation that a training reads is $n. DecideBound settles
	// both when the values are known.
	SourceParam int
	// Block is set for a cursor: the replica needs a transaction block that lasts as
	// long as the session's own.
	Block bool
	// Whole is set for the statement with which a READ ONLY transaction begins to follow the
	// replica: a block of its level is to be opened there, in which all that follows runs.
	Whole bool
	// ReadsTables is set on a replica where the statement reads relations that come
	// from the primary, so that freshness matters. Freshness is what the policy asks for
	// then: the caller waits for it, at most Wait, before the statement is sent.
	ReadsTables bool
	Freshness   Freshness
	Wait        time.Duration
	// OrPrimary is set where the primary may answer instead of a replica that is not
	// fresh in time or not there.
	OrPrimary bool
	// MayWrite is set where a function is called that may do anything, since it is volatile or
	// nothing is known of it: what it writes is not among the relations of the statement.
	MayWrite bool
	// Timeout bounds the statement's run on the server; 0 leaves that to the session.
	Timeout time.Duration
	// Err is the answer to the client when Place is Refused.
	Err *pgerr.Error
}

// Text is the reason with its subject, as logs, SHOW and `pgshunt route` print it.
func (d Decision) Text() string {
	if d.Subject == "" {
		return d.Reason
	}
	return d.Subject + " " + d.Reason
}

var classNames = [...]string{
	Read: "read", Write: "write", Schema: "schema", Inference: "inference",
	Training: "training", Describe: "catalog", Session: "session", Opaque: "opaque",
}

// String is the class as rules, logs and `pgshunt route` name it.
func (c Class) String() string { return classNames[c] }

// String is "primary", "replica", "stay" or "refused".
func (p Place) String() string { return [...]string{"primary", "replica", "stay", "refused"}[p] }
