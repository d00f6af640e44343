package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// demoRun is one statement as a server's own log has it.
type demoRun struct {
	pid     int
	sql     string
	elapsed time.Duration // by the server's clock; 0 for one that failed
}

// The shape of cluster.LogLinePrefix, for the two kinds of line that matter.
var demoLogLine = regexp.MustCompile(`^\S+ \S+ \S+ \[(\d+)\] user=` + demoUser + `,db=.*?,app=(.*?): LOG:  (statement|execute [^:]*|duration): (.*)$`)

// runs reads what the application's sessions have sent to the server since the
// last call. A statement is logged when it begins and its duration before its
// answer, so that what has been answered is there.
func (s *demoServer) runs() ([]demoRun, error) {
	log, err := s.Log()
	if err != nil {
		return nil, err
	}
	news := log[s.read:]
	s.read = len(log)
	return parseDemoLog(news)
}

func parseDemoLog(log string) ([]demoRun, error) {
	var runs []demoRun
	open := -1 // the statement whose lines go on
	for line := range strings.Lines(log) {
		line = strings.TrimSuffix(line, "\n")
		if rest, ok := strings.CutPrefix(line, "\t"); ok {
			if open >= 0 {
				runs[open].sql += "\n" + rest
			}
			continue
		}
		open = -1
		m := demoLogLine.FindStringSubmatch(line)
		if m == nil || m[2] == "pgshunt fleet" { // pgshunt itself looks at the server
			continue
		}
		pid, err := strconv.Atoi(m[1])
		if err != nil {
			return nil, fmt.Errorf("process id in the log of a server: %w", err)
		}
		if m[3] != "duration" {
			open = len(runs)
			runs = append(runs, demoRun{pid: pid, sql: m[4]})
			continue
		}
		// Of the statement that this process has logged last.
		number, _, _ := strings.Cut(m[4], " ")
		millis, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return nil, fmt.Errorf("duration in the log of a server: %w", err)
		}
		for i := len(runs) - 1; i >= 0; i-- {
			if runs[i].pid == pid {
				runs[i].elapsed += time.Duration(millis * float64(time.Millisecond))
				break
			}
		}
	}
	return runs, nil
}

// psqlVariable is a variable of psql, such as :forecast, but no cast.
var psqlVariable = regexp.MustCompile(`(^|[^:]):[a-z]\w*`)

// sameSQL tells whether sent, from a server's log, is what psql makes of written:
// without regard to white space, its variables replaced by values.
func sameSQL(written, sent string) bool {
	written, sent = plainSQL(written), plainSQL(sent)
	if !psqlVariable.MatchString(written) {
		return written == sent
	}
	pattern := psqlVariable.ReplaceAllString(regexp.QuoteMeta(written), `${1}\S+`)
	return regexp.MustCompile("^" + pattern + "$").MatchString(sent)
}

func plainSQL(text string) string {
	text, _, _ = strings.Cut(text, `\gset`)
	return strings.TrimRight(strings.Join(strings.Fields(text), " "), "; ")
}
