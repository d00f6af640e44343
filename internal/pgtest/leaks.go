package pgtest

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"
)

// leakPatience is how long goroutines and descriptors may take to go away after
// a test: closing a socket ends its reader, but not at once.
const leakPatience = 5 * time.Second

// NoLeaks fails the test if it ends with more goroutines or file descriptors
// than there are at this call. Call it first, but after SharedPrimary and
// SharedReplica, which outlive the test; and not in tests that run in parallel,
// since both are counted for the whole process.
func NoLeaks(tb testing.TB) {
	tb.Helper()
	// The runtime opens its poller with the first socket and keeps it.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		_ = l.Close()
	}
	goroutines, files := runtime.NumGoroutine(), openFiles(tb)
	tb.Cleanup(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(leakPatience); ; <-tick.C {
			g, f := runtime.NumGoroutine(), openFiles(tb)
			if g <= goroutines && f <= files {
				return
			}
			if time.Now().Before(deadline) {
				continue
			}
			tb.Errorf("leak: %d goroutines (%d before), %d open files (%d before)", g, goroutines, f, files)
			stacks := make([]byte, 1<<16)
			tb.Logf("%s", stacks[:runtime.Stack(stacks, true)])
			return
		}
	})
}

func openFiles(tb testing.TB) int {
	tb.Helper()
	for _, dir := range []string{"/proc/self/fd", "/dev/fd"} { // Linux, elsewhere
		if entries, err := os.ReadDir(dir); err == nil {
			return len(entries)
		}
	}
	tb.Fatal("neither /proc/self/fd nor /dev/fd can be read")
	return 0
}
