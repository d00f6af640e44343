package proxy

import (
	"slices"

	"pgshunt/parser"
)

// mayWrite tells whether a statement may change what others can read, as far as the text
// shows: what a view or an operator calls is not expected to write.
func mayWrite(p *parser.Part) bool {
	switch p.Kind {
	case parser.Begin, parser.Commit, parser.Rollback, parser.Savepoint, parser.Release, parser.RollbackTo,
		parser.Set, parser.Reset, parser.Show, parser.Close, parser.Fetch, parser.Listen, parser.Unlisten, parser.Notify,
		parser.Discard, parser.Prepare, parser.Deallocate, parser.LockTable, parser.Load:
		return false
	case parser.Select, parser.Values, parser.Declare, parser.Explain, parser.CopyTo:
		return len(p.Writes)+len(p.Defines) > 0 || p.Opaque || p.Volatile && !p.Clock ||
			slices.ContainsFunc(p.Calls, func(c parser.Call) bool { return !c.Builtin })
	}
	return true
}

// sentUnseen notes that the statement which is about to be sent to the primary may write
// more than its text shows.
func (s *session) sentUnseen(may bool) {
	if may {
		s.mu.Lock()
		s.state.sendingUnseen()
		s.mu.Unlock()
	}
}

// sendingUnseen notes that something is on its way to the primary that nobody here can read.
func (t *state) sendingUnseen() { t.wroteUnknown, t.writes = true, true }
