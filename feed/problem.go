package feed

// Problem is one thing that stands against a feed, or that a person should know of it.
type Problem struct {
	// Server is where it is: "primary", a replica's name, or "" for this machine.
	Server string `json:"server"`
	// Check is a short name that does not change between versions, as "wal_level".
	Check string `json:"check"`
	// Blocks is set where the feed cannot be set up, or does not work, because of it.
	Blocks bool `json:"blocks"`
	// What is wrong, in a sentence without its full stop.
	What string `json:"what"`
	// Remedy is the exact statement or command that removes it, "" where there is none;
	// Note says what else is to be done, as a restart.
	Remedy string `json:"remedy,omitempty"`
	Note   string `json:"note,omitempty"`
}

// Says is where the problem is and what is wrong, in one line.
func (p *Problem) Says() string {
	if p.Server == "" {
		return p.What
	}
	return p.Server + ": " + p.What
}

// State is how a feed is, as `pgshunt feed status` shows it.
type State struct {
	Replica string `json:"replica"`
	Feed    string `json:"feed"`
	// State is one word: "absent", "copying", "ready", "stale", "stopped", "broken". Without a
	// connection to the replica it is "broken"; without one to the primary copies stay what they
	// are, what follows it is "stopped", and what reads it "broken".
	State string `json:"state"`
	// LagBytes and LagSeconds say how far the replica is behind; -1 is not known.
	LagBytes   int64   `json:"lag_bytes"`
	LagSeconds float64 `json:"lag_seconds"`
	// Retained is how many bytes of WAL the feed's slot keeps on the primary; -1 without one.
	Retained int64        `json:"retained_bytes"`
	Tables   []TableState `json:"tables"`
	Problems []Problem    `json:"problems"`
	// Changes are changes of the schema that have begun and not ended.
	Changes []OpenChange `json:"changes,omitempty"`
}

// OpenChange is a change of the schema that is journalled and not done: one that is being made
// now, or that somebody was killed at.
type OpenChange struct {
	// Statement is what was sent to the primary, "" where it is of no replica's business.
	Statement string `json:"statement"`
	// Age is how many seconds ago it began.
	Age float64 `json:"age_seconds"`
	// Phase says how far it is, Next what finishes it.
	Phase string `json:"phase"`
	Next  string `json:"next"`
}

// TableState is how one table of a feed is.
type TableState struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	// State is one word, as of State; "missing" where the replica has no such table.
	State string `json:"state"`
	// Rows and Bytes are estimates of what the replica has; -1 is not known.
	Rows  int64 `json:"rows"`
	Bytes int64 `json:"bytes"`
	// Age is how many seconds ago the rows were the primary's; -1 is not known.
	Age float64 `json:"age_seconds"`
	// Copy is set for a table of a feed of foreign tables that is a copy.
	Copy bool `json:"copy,omitempty"`
	// Drift says what differs from the primary's definition, column by column.
	Drift []string `json:"drift,omitempty"`
}
