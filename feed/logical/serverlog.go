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

// lastError looks into the replica's log for the last error of the subscription.
func (s *session) lastError(ctx context.Context, sub *subscription) entry {
	text, err := one[[]byte](ctx, s.target, logQuery)
	if err != nil {
		return entry{}
	}
	return findError(string(text), s.run.Name)
}

var (
	process  = regexp.MustCompile(`\[(\d+)\]`)
	severity = regexp.MustCompile(`\b(ERROR|FATAL|LOG|DETAIL|CONTEXT|HINT|STATEMENT|WARNING):  (.*)`)
	position = regexp.MustCompile(`\b[0-9A-F]{1,8}/[0-9A-F]{1,8}\b`)
)

// findError finds the last error of a subscription's workers in a log in PostgreSQL's own
// format, whose log_line_prefix has the process in brackets, as the default does. A worker
// tells its subscription's name when it starts.
func findError(log, name string) entry {
	workers := make(map[string]bool)
	var last entry
	var pid string
	context := -1 // where in the text of last that begins
	open := false // the lines belong to an error of ours
	for line := range strings.Lines(log) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, "\t") {
			if open {
				last.text += " " + strings.TrimSpace(line)
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
				last, context = entry{text: text}, -1
			}
		case "DETAIL", "CONTEXT":
			if open = open && same; open {
				if kind == "CONTEXT" {
					context = len(last.text)
				}
				last.text += " (" + text + ")"
			}
		}
	}
	if context >= 0 { // a value of the row might look like a position too
		last.lsn = position.FindString(last.text[context:])
	}
	last.text = strings.Join(strings.Fields(last.text), " ")
	return last
}
