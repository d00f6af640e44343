package feed

import "slices"

// checkConnect is the [Problem.Check] of a server that no connection could be made to.
const checkConnect = "connect"

// Unreached adds that no connection to a server could be made, which err says, and what follows
// from that. blocks is as of [Problem].
func (s *State) Unreached(server *Server, blocks bool, err error, note string) {
	s.Problems = append(s.Problems, Problem{Server: server.Name, Check: checkConnect, Blocks: blocks, What: "no connection: " + Cause(err), Note: note})
}

// Overdue adds what to do where copies are older than their schedule allows for, which the
// state of their tables says.
func (s *State) Overdue(run *Run) {
	if !slices.ContainsFunc(s.Tables, func(t TableState) bool { return t.State == "stale" }) {
		return
	}
	s.Problems = append(s.Problems, Problem{
		Server: run.Target.Name, Check: "schedule", What: "there are copies more than twice as old as schedule says", Remedy: "pgshunt feed refresh --replica " + run.Replica.Name,
		Note: "which says what stands against it, as the log of pgshunt serve does, if that runs",
	})
}

// Reached tells whether a server was reached when the state was asked for.
func (s *State) Reached(server *Server) bool {
	return !slices.ContainsFunc(s.Problems, func(p Problem) bool { return p.Check == checkConnect && p.Server == server.Name })
}
