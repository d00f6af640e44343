package pgtest

import (
	"fmt"
	"os"
	"sync"
	"testing"
)

// shared holds the servers that all tests of a package use.
var shared struct {
	mu      sync.Mutex
	main    bool // Main runs and will stop them
	servers map[string]*Server
	used    map[use]bool // by tests that run now, whose failure prints the log once
}

type use struct {
	tb   testing.TB
	name string
}

// Main runs a package's tests, then stops the shared servers. Call it from
// TestMain; it exits the process.
func Main(m interface{ Run() int }) {
	shared.mu.Lock()
	shared.main = true
	shared.mu.Unlock()

	code := m.Run()

	shared.mu.Lock()
	defer shared.mu.Unlock()
	for _, s := range shared.servers {
		if err := s.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// SharedPrimary is the package's primary, started by its first use. Tests leave
// it as they found it: work in a NewDatabase, drop roles, run no ALTER SYSTEM.
func SharedPrimary(tb testing.TB) *Server {
	tb.Helper()
	return sharedServer(tb, "primary", func() (*Server, error) {
		return newServer("primary", primaryConfig(Options{}), nil)
	})
}

// SharedReplica is the package's replica, as SharedPrimary.
func SharedReplica(tb testing.TB) *Server {
	tb.Helper()
	return sharedServer(tb, "replica", func() (*Server, error) {
		return newServer("replica", replicaConfig(Options{}), installPgml)
	})
}

func sharedServer(tb testing.TB, name string, start func() (*Server, error)) *Server {
	tb.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if !shared.main {
		tb.Fatal("a shared server needs func TestMain(m *testing.M) { pgtest.Main(m) }")
	}
	s := shared.servers[name]
	if s == nil {
		var err error
		if s, err = start(); err != nil {
			tb.Fatal(err)
		}
		if shared.servers == nil {
			shared.servers, shared.used = map[string]*Server{}, map[use]bool{}
		}
		shared.servers[name] = s
	}
	if u := (use{tb, name}); !shared.used[u] {
		shared.used[u] = true
		mark := s.Mark(tb)
		tb.Cleanup(func() {
			s.logOnFailure(tb, mark)
			shared.mu.Lock()
			defer shared.mu.Unlock()
			delete(shared.used, u)
		})
	}
	return s
}
