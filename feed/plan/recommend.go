package plan

import (
	"fmt"
	"strings"

	"pgshunt/configs"
	"pgshunt/feed"
)

// The bands: by the size of what is fed, with indexes.
const (
	dumpBand    = 10 << 30
	fdwBand     = 100 << 30
	logicalBand = 10 << 40
)

// often is the share of rows that change in a day from which on a copy is soon out of date.
const often = 0.02

// measures are what a recommendation rests on.
type measures struct {
	bytes, rows int64
	// changes is how many rows change in a day.
	changes float64
	// fresh is set where the configuration asks that replicas be fresh.
	fresh bool
	// readers is how many replicas would read the primary at once.
	readers int
	service feed.Service
	// pgml is set where the primary has pgml already.
	pgml bool
}

// share is the part of all rows that changes in a day, 0 to 1 and above.
func (m *measures) share() float64 { return m.changes / float64(max(m.rows, 1)) }

// recommend chooses a way, and says why in sentences.
func recommend(m measures) (way configs.Feed, why []string) {
	say := func(format string, args ...any) { why = append(why, fmt.Sprintf(format, args...)) }
	frequent := m.share() > often
	change := fmt.Sprintf("about %s of %s rows change in a day", percent(m.share()), number(m.rows))
	if m.changes <= 0 {
		change = fmt.Sprintf("none of %s rows has changed", number(m.rows))
	}
	size := size(m.bytes)
	switch {
	case m.bytes < dumpBand && !frequent && !m.fresh:
		say("%s is less than 10 GB, and %s: a copy is made in minutes and stays right for long.", size, change)
		say("A copy asks nothing of the primary but to be read, and readers on the replica never wait for it.")
		return configs.FeedDump, why
	case m.bytes < fdwBand && !frequent && !m.fresh:
		say("%s would be the size for foreign tables, but only %s: a copy, made anew by a schedule, spares the primary every read of training.", size, change)
		return configs.FeedDump, why
	case m.bytes < fdwBand:
		if frequent {
			say("%s, and %s: a copy would soon be out of date.", size, change)
		} else {
			say("%s, and %s, but the configuration asks for fresh data, which a copy is not.", size, change)
		}
		say("Foreign tables have the primary's rows at every moment and need no restart of it; each training reads its table from the primary once.")
		if m.readers > 1 {
			say("With %d replicas that is %d reads of the primary; logical replication would read it once for each of them and then only send changes.", m.readers, m.readers)
		}
		return configs.FeedFDW, why
	case m.bytes < logicalBand || m.service != feed.OwnServer:
		if m.bytes >= logicalBand {
			say("%s is above 10 TB, where pgml in the primary itself would be the way; %s installs no such extension, so that this way is closed.", size, m.service)
			say("Feed the tables that are trained on, by `tables`, `columns` and `where`; each table is copied once.")
		} else {
			say("%s is more than a training should read from the primary each time, and more than should be copied again and again.", size)
		}
		say("Logical replication copies it once and then sends what changes: %s.", change)
		return configs.FeedLogical, why
	}
	say("%s is above 10 TB: a second copy of it costs more than to have pgml where the data is.", size)
	if !m.pgml {
		say("pgml has to be installed on the primary and preloaded, which takes a restart.")
	}
	return configs.FeedNative, why
}

// identities are the tables that logical replication could not update.
func identities(tables []Table) (why []string) {
	var keyless []string
	for _, t := range tables {
		if t.Identity == "" && t.Updates+t.Deletes > 0 {
			keyless = append(keyless, t.Schema+"."+t.Name)
		}
	}
	if len(keyless) > 0 {
		why = append(why, fmt.Sprintf("Rows of %s are updated or deleted and nothing tells them apart: see what blocks.", strings.Join(keyless, ", ")))
	}
	return why
}

func size(n int64) string {
	f, unit := float64(n), "bytes"
	for _, u := range []string{"kB", "MB", "GB", "TB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	if unit == "bytes" || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, unit)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}

func percent(share float64) string {
	switch {
	case share < 0.001:
		return "less than 0.1%"
	case share < 0.1:
		return fmt.Sprintf("%.1f%%", share*100)
	}
	return fmt.Sprintf("%.0f%%", share*100)
}

func number(n int64) string {
	switch {
	case n >= 1_000_000_000:
		return fmt.Sprintf("%.1f billion", float64(n)/1e9)
	case n >= 1_000_000:
		return fmt.Sprintf("%.1f million", float64(n)/1e6)
	case n >= 1000:
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	return fmt.Sprint(n)
}
