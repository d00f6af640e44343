package logical

import (
	"context"
	"regexp"
	"strings"
)

// entry is an error of one of a subscription's workers, from the replica's log.
type entry struct {
	// text is the message with its detail and context, in one line; "" where none is known.
	text string
	// lsn is where the transaction ends that could not be applied, "" where that is not said.
	lsn string
}

// logQuery reads the end of the log, where there is one that the role may read. Few may: then
// it fails.
const logQuery = `SELECT pg_read_binary_file(f, greatest(0, (pg_stat_file(f)).size - 262144), 262144) FROM pg_current_logfile() f WHERE f IS NOT NULL`

// lastError looks into the replica's log for the last error of the subscription, by the
// transaction that ends at end where there is one.
func (s *session) lastError(ctx context.Context, end string) entry {
	text, err := one[[]byte](ctx, s.target, logQuery)
	if err != nil {
		return entry{}
	}
	return findError(string(text), s.run.Name, end)
}

var (
	process  = regexp.MustCompile(`\[(\d+)\]`)
	severity = regexp.MustCompile(`\b(ERROR|FATAL|LOG|DETAIL|CONTEXT|HINT|STATEMENT|WARNING):  (.*)`)
	position = regexp.MustCompile(`\b[0-9A-F]{1,8}/[0-9A-F]{1,8}\b`)
)

// findError chooses from the errors of a subscription's workers the last, or the last of the
// transaction that ends at end: a worker that starts before the one that failed has ended fails
// too, and its error says nothing of the reason.
func findError(log, name, end string) (last entry) {
	for _, e := range findErrors(log, name) {
		if end == "" || e.lsn == end || last.lsn != end {
			last = e
		}
	}
	return last
}

// findErrors finds the errors of a subscription's workers in a log in PostgreSQL's own
// format, whose log_line_prefix has the process in brackets, as the default does. A worker
// tells its subscription's name when it starts.
func findErrors(log, name string) (all []entry) {
	workers := make(map[string]bool)
	var contexts []int // where in the text of each that begins, -1 for nowhere
	var pid string
	open := false // the lines belong to the last of ours
	for line := range strings.Lines(log) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "\t") {
			if open {
				all[len(all)-1].text += " " + strings.TrimSpace(line)
			}
			continue
		}
		m := process.FindStringSubmatch(line)
		w := severity.FindStringSubmatch(line)
		if m == nil || w == nil {
			open = false
			continue
		}
		same := m[1] == pid
		pid = m[1]
		switch kind, text := w[1], w[2]; kind {
		case "LOG":
			open = false
			if strings.Contains(text, `"`+name+`"`) {
				workers[pid] = true
			}
		case "ERROR", "FATAL":
			if open = workers[pid]; open {
				all, contexts = append(all, entry{text: text}), append(contexts, -1)
			}
		case "DETAIL", "CONTEXT":
			if open = open && same; open {
				last := &all[len(all)-1]
				if kind == "CONTEXT" {
					contexts[len(all)-1] = len(last.text)
				}
				last.text += " (" + text + ")"
			}
		}
	}
	for i := range all {
		if contexts[i] >= 0 { // a value of the row might look like a position too
			all[i].lsn = position.FindString(all[i].text[contexts[i]:])
		}
		all[i].text = strings.Join(strings.Fields(all[i].text), " ")
	}
	return all
}
