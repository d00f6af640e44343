package pgtest

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Line is one entry of a server's log; a statement of several lines is one entry.
type Line struct {
	PID         int
	User        string
	Database    string
	Application string
	Level       string // LOG, ERROR, STATEMENT, DETAIL, ...
	Text        string
}

// Statement is one statement that a client sent.
type Statement struct {
	Line        // who sent it
	SQL  string // its text
	Name string // of the prepared statement, "<unnamed>" for the unnamed one, "" where the simple protocol was used
}

// The shape of cluster.LogLinePrefix. An application_name may hold anything, so
// the level's fixed words mark its end.
var prefix = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \S+ \[(\d+)\] user=(.*?),db=(.*?),app=(.*?): ` +
	`(DEBUG\d?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|STATEMENT|CONTEXT|QUERY|LOCATION):  ((?s).*)$`)

// "execute S_1: SELECT" or "execute S_1/portal: SELECT"; further fetches from the
// same portal read "execute fetch from".
var execute = regexp.MustCompile(`^execute (fetch from )?([^:/]*)(?:/[^:]*)?: ((?s).*)$`)

// Mark is the present end of the log, to be given to the methods that read what
// came after.
func (s *Server) Mark(tb testing.TB) int {
	tb.Helper()
	size, err := s.LogSize() // the log of a shared server may be hundreds of megabytes
	if err != nil {
		tb.Fatal(err)
	}
	return int(size)
}

// LogLines are the entries logged after mark; 0 means all.
func (s *Server) LogLines(tb testing.TB, mark int) []Line {
	tb.Helper()
	log, err := s.LogFrom(int64(mark))
	if err != nil {
		tb.Fatal(err)
	}
	return parseLog(log)
}

// Statements are the statements that clients sent after mark. A statement is
// logged when its execution begins, so it is here before its answer.
// The superuser's own, sent over Exec, are among them.
func (s *Server) Statements(tb testing.TB, mark int) []Statement {
	tb.Helper()
	return statements(s.LogLines(tb, mark))
}

// Saw says whether a statement that contains text was executed after mark. It
// is meant for after an answer has arrived; to await one, use WaitStatement.
func (s *Server) Saw(tb testing.TB, mark int, text string) bool {
	tb.Helper()
	for _, st := range s.Statements(tb, mark) {
		if strings.Contains(st.SQL, text) {
			return true
		}
	}
	return false
}

// WaitStatement returns the first statement after mark that contains text,
// waiting for it up to Patience.
func (s *Server) WaitStatement(tb testing.TB, mark int, text string) Statement {
	tb.Helper()
	var found Statement
	s.wait(tb, "a statement with "+strconv.Quote(text), func() bool {
		for _, st := range s.Statements(tb, mark) {
			if strings.Contains(st.SQL, text) {
				found = st
				return true
			}
		}
		return false
	})
	return found
}

// WaitLog returns the first entry after mark whose text contains text, waiting
// for it up to Patience.
func (s *Server) WaitLog(tb testing.TB, mark int, text string) Line {
	tb.Helper()
	var found Line
	s.wait(tb, strconv.Quote(text), func() bool {
		for _, l := range s.LogLines(tb, mark) {
			if strings.Contains(l.Text, text) {
				found = l
				return true
			}
		}
		return false
	})
	return found
}

func (s *Server) wait(tb testing.TB, what string, ready func() bool) {
	tb.Helper()
	if !Eventually(ready) {
		tb.Fatalf("%s: %s did not appear in the log within %v", s.Name, what, Patience)
	}
}

// Eventually asks until the answer is yes, for as long as Patience, and returns
// the last answer. It is for states of other processes, which nobody announces.
func Eventually(ready func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(Patience); ; <-tick.C {
		if ready() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

func parseLog(log string) []Line {
	var lines []Line
	for raw := range strings.Lines(log) {
		raw = strings.TrimSuffix(raw, "\n")
		if rest, ok := strings.CutPrefix(raw, "\t"); ok && len(lines) > 0 { // continues the entry above
			lines[len(lines)-1].Text += "\n" + rest
			continue
		}
		m := prefix.FindStringSubmatch(raw)
		if m == nil {
			continue // output of another program, or a line still being written
		}
		pid, _ := strconv.Atoi(m[1]) // digits by the pattern
		lines = append(lines, Line{PID: pid, User: m[2], Database: m[3], Application: m[4], Level: m[5], Text: m[6]})
	}
	return lines
}

func statements(lines []Line) []Statement {
	var found []Statement
	for _, l := range lines {
		if l.Level != "LOG" {
			continue
		}
		if sql, ok := strings.CutPrefix(l.Text, "statement: "); ok {
			found = append(found, Statement{Line: l, SQL: sql})
		} else if m := execute.FindStringSubmatch(l.Text); m != nil {
			found = append(found, Statement{Line: l, SQL: m[3], Name: m[2]})
		}
	}
	return found
}
