package pool

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgtest"
)

// What a server says behind its login is read before the connection is taken over; one that
// refuses the empty query for that, as no server of ours does, is left without a connection.
func TestALoginThatEndsHalfwayLeavesNoConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ended := make(chan error, 1)
	go func() { ended <- refuseQueries(listener) }()
	target := &Target{Name: "primary", Login: func(string, string) (*pgconn.Config, error) {
		return pgconn.ParseConfig("postgres://anybody@" + listener.Addr().String() + "/any?sslmode=disable")
	}}
	if hc, err := target.login(t.Context(), Key{}); hc != nil || err == nil {
		t.Fatal("the login is none of an error")
	}
	if err := <-ended; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the server still has the connection: %v", err)
	}
}

// refuseQueries logs one client in, with a notice behind, answers its first query by an error,
// and returns with what ends the reading then.
func refuseQueries(listener net.Listener) error {
	conn, err := listener.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	server := pgproto3.NewBackend(conn, conn)
	if _, err := server.ReceiveStartupMessage(); err != nil {
		return err
	}
	server.Send(&pgproto3.AuthenticationOk{})
	server.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	server.Send(&pgproto3.NoticeResponse{Severity: "NOTICE", Code: "00000", Message: "one more thing"})
	if err := server.Flush(); err != nil {
		return err
	}
	if _, err := server.Receive(); err != nil {
		return err
	}
	server.Send(&pgproto3.ErrorResponse{Severity: "ERROR", Code: "0A000", Message: "no query"})
	server.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if err := server.Flush(); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(pgtest.Patience / 4)); err != nil {
		return err
	}
	for {
		if _, err := server.Receive(); err != nil {
			return err
		}
	}
}
