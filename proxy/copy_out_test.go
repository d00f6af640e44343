package proxy_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
	"pgshunt/pool"
	"pgshunt/proxy"
)

// Scenario 61: a client stops reading the answer to a COPY of 10 GB. The data waits at
// the server, not here, and nobody else does. The client reads on some time later, from
// where it was, and may cancel the rest.
func TestCopyOutWaitsForItsReader(t *testing.T) {
	primary, replica := pgtest.SharedPrimary(t), pgtest.SharedReplica(t)
	ca := newAuthority(t)
	const rows = "SELECT repeat('x', 10000) FROM generate_series(1, 1000000)"
	for name, c := range map[string]struct {
		tls bool
		sql string
	}{
		"plain":                {false, "COPY (" + rows + ") TO STDOUT"},
		"TLS":                  {true, "COPY (" + rows + ") TO STDOUT"},
		"plain, of a replica":  {false, "COPY (" + rows + " WHERE pgml.version() <> '') TO STDOUT"},
		"plain, in the middle": {false, "SELECT 1; COPY (" + rows + ") TO STDOUT; SELECT 2"},
	} {
		t.Run(name, func(t *testing.T) {
			server, db, other := primary, primary.NewDatabase(t), replica.NewDatabase(t)
			busy := db
			if strings.Contains(c.sql, "pgml") {
				server, busy = replica, other
			}
			pgtest.NoLeaks(t)
			f := start(t, setup{
				pool: pool.Config{Size: 3}, replicas: []*pgtest.Server{replica}, replicaDatabase: other,
				proxy: proxy.Config{TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue("pgshunt")}}},
			})
			neighbour := enter(t, f.addr, db)
			neighbour.works()
			lazy, key := lazyReader(t, f.addr, db, c.tls, &tls.Config{RootCAs: ca.pool, ServerName: "localhost"})
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			lazy.send(&pgproto3.Query{String: c.sql})
			if !pgtest.Eventually(func() bool {
				return count(t, server, "SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'ClientWrite'", busy) == 1
			}) {
				t.Error("the server is not held up, so somebody has taken the data")
			}
			for range 100 {
				neighbour.works()
			}
			if got := joined(neighbour.query("SELECT 1 FROM pgml.version()")); !strings.Contains(got, "SELECT 1") {
				t.Errorf("the replica for somebody else: %q", got)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if after.HeapAlloc > before.HeapAlloc+4<<20 {
				t.Errorf("the heap grew from %d to %d bytes", before.HeapAlloc, after.HeapAlloc)
			}
			readOn(t, lazy, 3000)
			cancel(t, f.addr, key.ProcessID, key.SecretKey)
			got := lazy.answer()
			if last := joined(got[max(0, len(got)-2):]); last != canceled {
				t.Errorf("after the cancel: %q", last)
			}
			lazy.works()
			_ = lazy.Close()
			_ = neighbour.Close()
		})
	}
}

// lazyReader logs in, by TLS if so asked, on a connection that takes little at a time.
func lazyReader(t *testing.T, addr, database string, encrypted bool, config *tls.Config) (*client, *pgproto3.BackendKeyData) {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.(*net.TCPConn).SetReadBuffer(64 << 10)
	if encrypted {
		_ = nc.SetDeadline(time.Now().Add(pgtest.Patience))
		_, _ = nc.Write(packet(sslCode, ""))
		if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		tc := tls.Client(nc, config)
		ctx, cancel := context.WithTimeout(context.Background(), pgtest.Patience)
		defer cancel()
		if err := tc.HandshakeContext(ctx); err != nil {
			t.Fatal(err)
		}
		nc = tc
	}
	c := newClient(t, nc)
	c.startup("user", "postgres", "database", database)
	return c, c.key(t)
}

// readOn reads rows of the COPY, each of which must be whole.
func readOn(t *testing.T, c *client, rows int) {
	t.Helper()
	for n := 0; n < rows; {
		m, err := c.fe.Receive()
		if err != nil {
			t.Fatalf("after %d rows: %v", n, err)
		}
		switch m := m.(type) {
		case *pgproto3.CopyData:
			if n++; len(m.Data) != 10001 || strings.Trim(string(m.Data), "x") != "\n" {
				t.Fatalf("row %d has %d bytes", n, len(m.Data))
			}
		case *pgproto3.ErrorResponse:
			t.Fatalf("after %d rows: %s", n, m.Message)
		}
	}
}
