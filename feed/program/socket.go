package program

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/feed"
)

// Socket lets PostgreSQL's programs work on a server with the login of the
// configuration: it listens on a Unix socket that only this user can reach, logs in to the
// server for every client and passes the bytes on. So the programs see neither password,
// certificate nor key, and whatever pgconn can do at a login, they can.
type Socket struct {
	dir      string
	remove   func() error
	server   *feed.Server
	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	sessions sync.WaitGroup

	mu    sync.Mutex
	fault error // of the first login that failed
}

const socketPort = 5432

// OpenSocket begins to listen for programs that want the server. The end of ctx, or Close,
// ends all of their connections.
func OpenSocket(ctx context.Context, server *feed.Server) (*Socket, error) {
	dir, remove, err := Scratch()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(socketPort))
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	s := &Socket{dir: dir, remove: remove, server: server, listener: listener}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.sessions.Go(s.serve)
	return s, nil
}

// Args are the arguments of a program that connects.
func (s *Socket) Args() []string {
	return []string{
		"--host=" + s.dir, "--port=" + strconv.Itoa(socketPort), "--no-password",
		"--username=" + s.server.User(), "--dbname=" + s.server.Database(),
	}
}

// Err is why a login failed, nil if none did.
func (s *Socket) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// Close ends every connection and removes the socket.
func (s *Socket) Close() error {
	s.cancel()
	err := s.listener.Close()
	s.sessions.Wait()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return errors.Join(err, s.remove())
}

func (s *Socket) serve() {
	stop := context.AfterFunc(s.ctx, func() { _ = s.listener.Close() })
	defer stop()
	for {
		client, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.sessions.Go(func() {
			defer client.Close()
			stop := context.AfterFunc(s.ctx, func() { _ = client.Close() })
			defer stop()
			s.session(client)
		})
	}
}

// session serves one client from its startup message on. It takes no cancel requests: who
// cancels ends the program.
func (s *Socket) session(client net.Conn) {
	backend := pgproto3.NewBackend(client, client)
	for {
		message, err := backend.ReceiveStartupMessage()
		if err != nil {
			return
		}
		switch message.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := client.Write([]byte{'N'}); err != nil {
				return
			}
			continue
		case *pgproto3.StartupMessage:
		default:
			return
		}
		break
	}
	server, err := s.login()
	if err != nil {
		s.mu.Lock()
		if s.fault == nil {
			s.fault = err
		}
		s.mu.Unlock()
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "08001", Message: err.Error()})
		_ = backend.Flush()
		return
	}
	defer server.Conn.Close()
	if greet(backend, server) == nil {
		relay(client, server.Conn)
	}
}

func (s *Socket) login() (*pgconn.HijackedConn, error) {
	conn, err := s.server.Connect(s.ctx)
	if err != nil {
		return nil, err
	}
	// SyncConn leaves nothing read ahead, so that the bare connection can be taken.
	if err = conn.PgConn().SyncConn(s.ctx); err == nil {
		var server *pgconn.HijackedConn
		if server, err = conn.PgConn().Hijack(); err == nil {
			return server, nil
		}
	}
	_ = conn.Close(s.ctx) // the first error is the one that explains
	return nil, fmt.Errorf("%s: %w", s.server.Name, err)
}

// greet tells the client that it is logged in.
func greet(backend *pgproto3.Backend, server *pgconn.HijackedConn) error {
	backend.Send(&pgproto3.AuthenticationOk{})
	for name, value := range server.ParameterStatuses {
		backend.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	secret := make([]byte, 4)
	_, _ = rand.Read(secret) // never fails
	backend.Send(&pgproto3.BackendKeyData{ProcessID: binary.BigEndian.Uint32(secret) & 0x7fffffff, SecretKey: secret})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return backend.Flush()
}

// relay passes bytes both ways until either side ends.
func relay(client, server net.Conn) {
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	_, _ = io.Copy(server, client)
	_ = server.Close()
	back.Wait()
}
