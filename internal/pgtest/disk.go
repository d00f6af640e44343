package pgtest

import (
	"context"
	"os/exec"
	"testing"
)

// FillDisk makes the server's disk full for tables of more than a few megabytes, until FreeDisk:
// no file of a connection made from now on grows past that, and what tries gets the short
// write that a full disk answers with. It is not quite a full disk: the log of changes (WAL)
// goes on, since its files are smaller. A server that cannot write that stops, which is what
// Kill is like. Without the program prlimit the test is skipped.
func (s *Server) FillDisk(tb testing.TB) {
	tb.Helper()
	if _, err := exec.LookPath("prlimit"); err != nil {
		tb.Skip("limiting files needs prlimit")
	}
	// Not a multiple of a page, so that the page that does not fit is written in part.
	s.limitFiles(tb, 3<<20+1000)
}

// FreeDisk takes FillDisk back.
func (s *Server) FreeDisk(tb testing.TB) {
	tb.Helper()
	s.limitFiles(tb, 0)
}

func (s *Server) limitFiles(tb testing.TB, bytes int64) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := s.LimitFiles(ctx, bytes); err != nil {
		tb.Fatal(err)
	}
}
