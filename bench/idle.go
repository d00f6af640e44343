package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"golang.org/x/sync/errgroup"
)

// settleTime is for garbage of the logins to be given back.
const settleTime = 5 * time.Second

// measureIdle opens connections that do nothing and looks at the memory of fresh
// proxies before and after.
func measureIdle(ctx context.Context, r *rig, _ options) ([]*table, error) {
	t := &table{Title: "Memory with idle clients", Idle: []idleRow{}}
	t.note("RSS in MB, %v after the last login; no client has sent a query.", settleTime)
	if err := raiseFileLimit(maxClients + 1000); err != nil {
		return nil, err
	}
	for _, start := range []func(context.Context) (*endpoint, error){r.startBouncer, r.startShunt} {
		for _, clients := range []int{1000, 10_000} {
			row, err := idleOver(ctx, start, clients)
			if err != nil {
				return nil, err
			}
			progress("%d idle clients of %s: %.1f MB", row.Clients, row.Endpoint, float64(row.After)/1e6)
			if row.Endpoint == shuntName && clients == 10_000 {
				row.Goals = []goal{atMost("MB", spreadOf([]float64{float64(row.After) / 1e6}), 100, "%.1f")}
			}
			t.Idle = append(t.Idle, row)
		}
	}
	return []*table{t}, nil
}

// idleRow is one proxy with a number of idle clients.
type idleRow struct {
	Endpoint string  `json:"endpoint"`
	Clients  int     `json:"clients"`
	Before   int64   `json:"rss_before"`
	After    int64   `json:"rss_after"`
	Each     float64 `json:"bytes_per_client"`
	Goals    []goal  `json:"goals,omitempty"`
}

func idleOver(ctx context.Context, start func(context.Context) (*endpoint, error), clients int) (row idleRow, err error) {
	e, err := start(ctx)
	if err != nil {
		return row, err
	}
	defer e.proc.stop()
	row = idleRow{Endpoint: e.name, Clients: clients}
	if row.Before, err = e.proc.residentBytes(); err != nil {
		return row, err
	}
	conns, err := openIdle(ctx, e, clients)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close() // the proxy ends next
			}
		}
	}()
	if err != nil {
		return row, fmt.Errorf("%d idle clients of %s: %w", clients, e.name, err)
	}
	select {
	case <-time.After(settleTime):
	case <-ctx.Done():
		return row, ctx.Err()
	}
	if row.After, err = e.proc.residentBytes(); err != nil {
		return row, err
	}
	row.Each = float64(row.After-row.Before) / float64(clients)
	return row, nil
}

// openIdle opens connections, some at a time. It returns those it has opened
// also with an error.
func openIdle(ctx context.Context, e *endpoint, clients int) ([]net.Conn, error) {
	const atOnce = 16
	conns := make([]net.Conn, clients)
	var next atomic.Int64
	var group errgroup.Group
	for range atOnce {
		group.Go(func() error {
			for n := next.Add(1) - 1; int(n) < clients; n = next.Add(1) - 1 {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				var err error
				if conns[n], err = logIn(ctx, e.port); err != nil {
					return fmt.Errorf("client %d: %w", n+1, err)
				}
			}
			return nil
		})
	}
	return conns, group.Wait()
}

// logIn speaks the startup protocol until the server is ready.
func logIn(ctx context.Context, port int) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	if err := greet(conn); err != nil {
		_ = conn.Close() // the first error is the one that matters
		return nil, err
	}
	return conn, nil
}

func greet(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	front := pgproto3.NewFrontend(conn, conn)
	front.Send(&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30,
		Parameters:      map[string]string{"user": superuser, "database": database},
	})
	if err := front.Flush(); err != nil {
		return err
	}
	for {
		msg, err := front.Receive()
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.ReadyForQuery:
			return conn.SetDeadline(time.Time{})
		case *pgproto3.ErrorResponse:
			return fmt.Errorf("%s: %s (SQLSTATE %s)", m.Severity, m.Message, m.Code)
		}
	}
}

// raiseFileLimit lets this process and those it starts open that many files.
func raiseFileLimit(files uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	// Also where it is high enough: Go has raised its own soft limit at the start, and
	// hands the old one to the programs it runs unless this call was made.
	limit.Cur, limit.Max = max(limit.Cur, files), max(limit.Max, files)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w; `ulimit -n %d` before this run, as root where it is refused", err, files)
	}
	return nil
}
