package router

import "time"

// Target is one configured server, as the last look at it found it.
type Target struct {
	Name    string // "primary" or the replica's name
	Replica bool
	// Healthy is set while the server answers and is what it is configured to be.
	// Trouble is a phrase that says why not, such as "does not accept connections"; of a
	// server that is healthy all the same, why it may be asked only for what needs no pgml.
	Healthy bool
	Trouble string
	// Training, Inference and Reads are what a replica may be asked for.
	Training, Inference, Reads bool
	// Feed is how the primary's data reaches a replica.
	Feed Feed
	// Weight is a replica's share of the work beside the others'; 0 counts as 1.
	Weight int
	// Zone is where the server stands; replicas in the proxy's own zone are preferred.
	Zone string
	// Standby is set while the server is in recovery.
	Standby bool
	// Pgml is the version of PostgresML's extension there, "" where it is missing or unknown.
	Pgml string
	// Lag is how far the data of a replica was behind the primary's at the last look,
	// LagKnown whether that could be told: everything that had been committed that long
	// before is there. For a dump feed it is the age of the copy.
	Lag      time.Duration
	LagKnown bool
	// Models holds the names of the projects that have a deployed model there; nil
	// where the server could not be asked.
	Models map[string]bool
}

// Feed is how data reaches a replica, in the configuration's own words.
type Feed string

// The feeds. FeedNone, or none given, means that nobody here knows.
const (
	FeedDump    Feed = "dump"
	FeedFDW     Feed = "fdw"
	FeedLogical Feed = "logical"
	FeedNative  Feed = "native"
	FeedNone    Feed = "none"
)

// Freshness is how much of the primary's history a replica must have applied before
// it may answer. The zero value asks for nothing.
type Freshness struct {
	// Session asks for everything that the session has committed.
	Session bool
	// Within bounds the replica's lag; 0 is no bound.
	Within time.Duration
}

// Any reports whether f asks for nothing.
func (f Freshness) Any() bool { return f == Freshness{} }

// String is f in the configuration's own words.
func (f Freshness) String() string {
	switch {
	case f.Session:
		return "session"
	case f.Within > 0:
		return f.Within.String()
	}
	return "any"
}
