package feed

import "time"

// Status says what an Event tells of its step.
type Status string

// The statuses of a step. Each step has one StatusStart or StatusSkip, any number of
// StatusProgress and at most one StatusDone; StatusWould replaces them where steps are
// only printed. StatusNote stands by itself.
const (
	StatusStart    Status = "start"
	StatusProgress Status = "progress"
	StatusDone     Status = "done"
	StatusSkip     Status = "skip" // it was done already
	StatusWould    Status = "would"
	StatusNote     Status = "note" // a person should know
)

// Event is one thing that happened while a feed was worked on. Amounts are absolute
// and of the whole step; a total of 0 is not known.
type Event struct {
	Time    time.Time `json:"time"`
	Replica string    `json:"replica"`
	Status  Status    `json:"status"`
	// Server is where the step works: "primary" or the replica's name; "" for this machine.
	Server string `json:"server,omitempty"`
	// Step is what is done, as "make the publication".
	Step string `json:"step"`
	// SQL is the statement or the command of the step, passwords masked.
	SQL string `json:"sql,omitempty"`
	// Table is what the step works on now, by schema and name.
	Table string `json:"table,omitempty"`
	// Bytes and Rows are -1 in a StatusDone where only samples of them were seen.
	Bytes       int64 `json:"bytes,omitempty"`
	TotalBytes  int64 `json:"total_bytes,omitempty"`
	Rows        int64 `json:"rows,omitempty"`
	TotalRows   int64 `json:"total_rows,omitempty"`
	TablesDone  int   `json:"tables_done,omitempty"`
	TablesTotal int   `json:"tables_total,omitempty"`
	// Took is the time of a step that is done, in nanoseconds.
	Took time.Duration `json:"took_ns,omitempty"`
}

// Sink takes events as they happen. It is called by several goroutines at a time and
// must not block for long.
type Sink func(Event)
