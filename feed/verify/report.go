package verify

import (
	"time"

	"pgshunt/configs"
)

// Options say how to verify.
type Options struct {
	// Repair writes the primary's rows to the replica where they differ.
	Repair bool
	// Tables are patterns of the tables to compare, of those that are fed; empty means all.
	Tables configs.Patterns
	// Keys is how many keys are shown of each table; 0 is 20.
	Keys int
	// Limit is how many differing rows of a table are looked for before the rest of it is
	// only counted by ranges; 0 is 10000. With Repair there is no limit.
	Limit int64
	// RangeRows is how many rows a range has at most; 0 depends on their size.
	RangeRows int
	// Patience is how long the subscription may stand still before it is given up; 0 is a minute.
	Patience time.Duration
}

// Report is what was compared and what came of it.
type Report struct {
	Replica string `json:"replica"`
	Feed    string `json:"feed"`
	// LSN is where the primary was when it began.
	LSN string `json:"lsn"`
	// Rows and Bytes are those of the primary's rows that were compared, the bytes as text.
	Rows   int64         `json:"rows"`
	Bytes  int64         `json:"bytes"`
	Ranges int           `json:"ranges"`
	Took   time.Duration `json:"took_ns"`
	Tables []TableReport `json:"tables"`
	// Only are tables that would be fed and that only the replica has, by schema and name with a
	// dot between: its own, or such as the primary has dropped. They are no difference.
	Only []string `json:"only_replica,omitempty"`
}

// Equal tells whether every table was compared and is the same on both servers.
func (r *Report) Equal() bool {
	for i := range r.Tables {
		if r.Tables[i].State != Equal {
			return false
		}
	}
	return true
}

// States of a TableReport.
const (
	Equal     = "equal"
	Differs   = "differs"   // rows differ, or columns that could not be compared
	Unsettled = "unsettled" // rows change too fast to be compared; nothing else differs
	Missing   = "missing"   // the replica has no such table
	Skipped   = "skipped"   // not compared; Note says why
	Failed    = "failed"    // Note has the error
)

// TableReport is how one table compares.
type TableReport struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	State  string `json:"state"`
	// Primary and Replica are the numbers of rows that each had when it was read.
	Primary int64 `json:"primary_rows"`
	Replica int64 `json:"replica_rows"`
	Bytes   int64 `json:"bytes"`
	Ranges  int   `json:"ranges"`
	// Missing, Extra and Changed count rows that differ: those that the replica lacks, those
	// that only it has, those that are other there. After a repair they are what is left.
	Missing int64 `json:"missing"`
	Extra   int64 `json:"extra"`
	Changed int64 `json:"changed"`
	// Unsettled counts rows that changed too fast to be compared.
	Unsettled int64 `json:"unsettled,omitempty"`
	// Repaired counts rows that were written or deleted on the replica.
	Repaired int64 `json:"repaired,omitempty"`
	// Newer counts, of the rows that differ, those that the primary has changed since the
	// copy was made; -1 is not known.
	Newer int64 `json:"newer"`
	// Limited is set where there may be more rows that differ than were looked for.
	Limited bool `json:"limited,omitempty"`
	// Differing are the ranges in which rows differ, as many as Options.Keys.
	Differing []Range `json:"differing,omitempty"`
	// Keys are the first of the rows that differ.
	Keys []Key `json:"keys,omitempty"`
	// Columns are those that could not be compared.
	Columns []string      `json:"columns,omitempty"`
	Note    string        `json:"note,omitempty"`
	Took    time.Duration `json:"took_ns"`
}

// Rows is how many rows differ.
func (r *TableReport) Rows() int64 { return r.Missing + r.Extra + r.Changed }

// Range is a part of a table: keys after From, up to and with To, as text; "" is no bound.
type Range struct {
	From string `json:"from"`
	To   string `json:"to"`
	Rows int    `json:"rows"`
}

// Key names one row that differs.
type Key struct {
	// Key is the row's key as text; where the table has none, the hash of the row.
	Key string `json:"key"`
	// What is "missing", "extra" or "changed".
	What string `json:"what"`
}
