package feed

import "slices"

// checkConnect is the [Problem.Check] of a server that no connection could be made to.
const checkConnect = "connect"

// Unreached adds that no connection to a server could be made, which err says, and what follows
// from that. blocks is as of [Problem].
func (s *State) Unreached(server *Server, blocks bool, err error, note string) {
	s.Problems = append(s.Problems, Problem{Server: server.Name, Check: checkConnect, Blocks: blocks, What: "no connection: " + Cause(err), Note: note})
}

// Reached tells whether a server was reached when the state was asked for.
func (s *State) Reached(server *Server) bool {
	return !slices.ContainsFunc(s.Problems, func(p Problem) bool { return p.Check == checkConnect && p.Server == server.Name })
}
