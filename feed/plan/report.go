package plan

import (
	"pgshunt/configs"
	"pgshunt/feed"
)

// Report is one plan.
type Report struct {
	Primary  Primary   `json:"primary"`
	Replicas []Replica `json:"replicas"`
}

// Server is what one look at a server tells.
type Server struct {
	Name             string       `json:"name"`
	Version          string       `json:"version"`
	VersionNum       int          `json:"version_num"`
	Service          feed.Service `json:"service,omitempty"`
	Standby          bool         `json:"standby"`
	Database         string       `json:"database"`
	Bytes            int64        `json:"database_bytes"`
	Encoding         string       `json:"encoding"`
	Collate          string       `json:"collate"`
	CType            string       `json:"ctype"`
	Provider         string       `json:"locale_provider"`
	CollationVersion string       `json:"collation_version,omitempty"`
	Role             string       `json:"role"`
	Superuser        bool         `json:"superuser"`
	// Replicates is set where the role may use replication slots, Creates where it may make
	// schemas in the database.
	Replicates  bool   `json:"replicates"`
	Creates     bool   `json:"creates"`
	WALLevel    string `json:"wal_level"`
	Slots       int    `json:"max_replication_slots"`
	SlotsUsed   int    `json:"replication_slots_used"`
	Senders     int    `json:"max_wal_senders"`
	SendersUsed int    `json:"wal_senders_used"`
	// KeepSize is max_slot_wal_keep_size in bytes, -1 where slots keep all they need.
	KeepSize    int64 `json:"max_slot_wal_keep_size_bytes"`
	Workers     int   `json:"max_worker_processes"`
	Logical     int   `json:"max_logical_replication_workers"`
	SyncWorkers int   `json:"max_sync_workers_per_subscription"`
	// Pgml is the version of the extension, "" where it is not installed.
	Pgml string `json:"pgml_version,omitempty"`
}

// Primary is the primary, with how fast it changes.
type Primary struct {
	Server
	Churn Churn `json:"churn"`
}

// Churn says where rates come from.
type Churn struct {
	// Seconds is the time that was looked at.
	Seconds float64 `json:"seconds"`
	// Watched is set for two looks; else the rates are those since the statistics were reset.
	Watched bool `json:"watched"`
	// WAL is how many bytes of WAL the whole server writes in a second, -1 if not known.
	WAL float64 `json:"wal_bytes_per_second"`
}

// Table is one fed table as the plan sees it.
type Table struct {
	Schema string `json:"schema"`
	Name   string `json:"name"`
	// Rows is the planner's estimate, -1 before the first ANALYZE.
	Rows    int64 `json:"rows"`
	Heap    int64 `json:"heap_bytes"`
	Toast   int64 `json:"toast_bytes"`
	Indexes int64 `json:"index_bytes"`
	// Identity says by what logical replication tells rows apart: "primary key", "index",
	// "full", or "" for nothing.
	Identity string `json:"identity"`
	// Inserts, Updates and Deletes are rows a day.
	Inserts float64 `json:"inserts_per_day"`
	Updates float64 `json:"updates_per_day"`
	Deletes float64 `json:"deletes_per_day"`
}

// Bytes is the whole size on disk.
func (t *Table) Bytes() int64 { return t.Heap + t.Toast + t.Indexes }

// Changes is how many rows change in a day.
func (t *Table) Changes() float64 { return t.Inserts + t.Updates + t.Deletes }

// Replica is the plan for one of them.
type Replica struct {
	Server
	// Configured is what the configuration says, Recommended what the plan does, which may be
	// the same.
	Configured  configs.Feed `json:"configured"`
	Recommended configs.Feed `json:"recommended"`
	// Why are sentences.
	Why    []string `json:"why"`
	Tables []Table  `json:"tables"`
	// Ways has the recommended way and the configured one.
	Ways []Way `json:"ways"`
	// Error says why the replica could not be planned for; then the rest is empty.
	Error string `json:"error,omitempty"`
}

// Way is one way to feed a replica: what stands against it, and what it costs.
type Way struct {
	Feed     configs.Feed   `json:"feed"`
	Problems []feed.Problem `json:"problems"`
	Estimate Estimate       `json:"estimate"`
}

// Blocked says whether the way is closed as things are.
func (w *Way) Blocked() bool {
	for _, p := range w.Problems {
		if p.Blocks {
			return true
		}
	}
	return false
}

// Estimate is what a way costs. Times are in seconds.
type Estimate struct {
	// Apply is the time until the data is there, Refresh of each refresh.
	Apply   float64 `json:"apply_seconds"`
	Refresh float64 `json:"refresh_seconds"`
	// Disk is what the replica needs for good, Peak while a copy is made.
	Disk int64 `json:"disk_bytes"`
	Peak int64 `json:"peak_disk_bytes"`
	// WAL is what the primary keeps for the replica while the first copy lasts, -1 if not known.
	WAL int64 `json:"wal_kept_bytes"`
	// Assumes are sentences.
	Assumes []string `json:"assumes"`
}
