package plan

import (
	"fmt"
	"time"

	"pgshunt/configs"
)

// What is assumed where nothing was measured, in bytes a second.
const (
	assumedCopy  = 40 << 20 // one connection copying
	assumedIndex = 20 << 20 // one connection building indexes
	// onlyTable is how long it takes to make one foreign table, in seconds.
	onlyTable = 0.02
)

// workload is what an estimate rests on.
type workload struct {
	tables []Table
	// speed is what one connection was measured to read, in bytes a second, 0 if it was not.
	speed float64
	jobs  int
	// syncs is how many tables a subscription copies at once.
	syncs int
	// wal is how much WAL the primary writes in a second, -1 if not known.
	wal float64
}

// estimate says what a way costs.
func estimate(way configs.Feed, w workload) Estimate {
	var rows, indexes, largest int64
	for _, t := range w.tables {
		rows, indexes, largest = rows+t.Heap+t.Toast, indexes+t.Indexes, max(largest, t.Heap+t.Toast)
	}
	e := Estimate{WAL: -1}
	say := func(format string, args ...any) { e.Assumes = append(e.Assumes, fmt.Sprintf(format, args...)) }
	speed := w.speed
	if speed > 0 {
		say("One connection copies %s a second, as was measured just now by reading the largest table; the replica writes as fast.", size(int64(speed)))
	} else {
		speed = assumedCopy
		say("One connection copies %s a second; nothing was measured.", size(int64(speed)))
	}
	build := float64(indexes) / assumedIndex
	switch way {
	case configs.FeedDump:
		jobs := float64(max(w.jobs, 1))
		e.Apply = float64(rows)/(speed*jobs) + build/jobs
		e.Refresh, e.Disk, e.Peak = e.Apply, rows+indexes, 2*(rows+indexes)
		say("%d connections copy at once (--jobs), and each builds indexes at %s a second.", w.jobs, size(assumedIndex))
		say("A refresh loads a second copy beside the first, so it needs twice the room.")
	case configs.FeedLogical:
		syncs := float64(max(min(w.syncs, len(w.tables)), 1))
		e.Apply = max(float64(rows)/(speed*syncs), float64(largest)/speed) + build
		e.Disk, e.Peak = rows+indexes, rows+indexes
		say("%.0f tables are copied at once (max_sync_workers_per_subscription), and a table is not divided.", syncs)
		if w.wal >= 0 {
			e.WAL = int64(w.wal * e.Apply)
			say("The primary keeps its WAL while the first copy lasts: %s a second were measured.", size(int64(w.wal)))
		} else {
			say("How much WAL the primary keeps while the first copy lasts is not known; look again with --watch 30s.")
		}
	case configs.FeedFDW:
		e.Apply = onlyTable * float64(len(w.tables))
		e.Refresh = e.Apply
		say("A training on the largest table reads %s through the foreign table, about %s.", size(largest), time.Duration(float64(largest)/speed*float64(time.Second)).Round(time.Second))
	case configs.FeedNative:
		e.Assumes = nil
		say("Nothing is copied; a physical standby needs the size of the whole primary.")
	}
	if e.Peak > 0 {
		say("How much room the replica's disk has cannot be seen through SQL: look with df on its machine.")
	}
	return e
}
