package pool

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/wire"
)

// Walsender is a replication connection to a server: outside of every pool,
// logged in for one client and never given to another. Whoever opened it owns it
// and must close it. Reading and writing Conn, Cancel and StopWriting may go on at
// the same time.
type Walsender struct {
	// PID is the server process, or 0 where the server gave none.
	PID uint32
	// Params are the ParameterStatus values of the login.
	Params map[string]string
	Conn   *wire.Conn

	hijacked *pgconn.HijackedConn
}

// OpenWalsender logs in for replication, with startup parameters over those of
// the server's URL. Physical replication belongs to no database; key.Database is
// then only what a pass file calls it. The error is ready to be shown to a client.
func (ps *Pools) OpenWalsender(ctx context.Context, key Key, physical bool, params map[string]string) (*Walsender, error) {
	ps.mu.RLock()
	t := ps.targets[key.Target]
	ps.mu.RUnlock()
	if t == nil {
		return nil, errRemoved(key.Target)
	}
	ctx, cancel := context.WithTimeout(ctx, ps.cfg.ConnectTimeout)
	defer cancel()
	cfg, err := t.Login(key.User, key.Database)
	if err != nil {
		return nil, loginError(t.Name, err)
	}
	if cfg.RuntimeParams == nil {
		cfg.RuntimeParams = make(map[string]string)
	}
	maps.Copy(cfg.RuntimeParams, params)
	cfg.RuntimeParams["replication"] = "database"
	if physical {
		cfg.RuntimeParams["replication"] = "true"
		cfg.Database = ""
		if cfg.ValidateConnect != nil { // target_session_attrs, asked with SQL, which such a connection does not run
			cfg.ValidateConnect = validatePrimary
		}
	}
	pc, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, loginError(t.Name, err)
	}
	w, err := newWalsender(ctx, pc)
	if err != nil {
		return nil, loginError(t.Name, err)
	}
	return w, nil
}

// validatePrimary refuses a standby by what it has said at the login; servers
// before 14 do not say.
func validatePrimary(_ context.Context, pc *pgconn.PgConn) error {
	if pc.ParameterStatus("in_hot_standby") == "on" {
		return errors.New("server is in hot standby mode")
	}
	return nil
}

// newWalsender takes the connection over. What pgconn has read beyond the login
// must be taken from it first; SyncConn would do so with an SQL statement.
func newWalsender(ctx context.Context, pc *pgconn.PgConn) (*Walsender, error) {
	hc, err := takeOver(pc)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = hc.Conn.SetReadDeadline(deadline)
	}
	for hc.Frontend.ReadBufferLen() > 0 {
		m, err := hc.Frontend.Receive()
		if err != nil {
			_ = hc.Conn.Close()
			return nil, err
		}
		switch m := m.(type) {
		case *pgproto3.ParameterStatus:
			hc.ParameterStatuses[m.Name] = m.Value
		case *pgproto3.ErrorResponse:
			_ = hc.Conn.Close()
			return nil, pgconn.ErrorResponseToPgError(m)
		}
	}
	_ = hc.Conn.SetReadDeadline(time.Time{})
	return &Walsender{PID: hc.PID, Params: hc.ParameterStatuses, Conn: wire.NewConn(hc.Conn), hijacked: hc}, nil
}

// Cancel asks the server to cancel what the connection is doing, as Backend.Cancel does.
func (w *Walsender) Cancel(ctx context.Context) error { return cancelOn(ctx, w.hijacked) }

// StopWriting ends a write that waits for the server to read, and fails all that
// follow; reading goes on.
func (w *Walsender) StopWriting() { _ = w.Conn.SetWriteDeadline(time.Unix(1, 0)) }

// Close ends the connection without ceremony.
func (w *Walsender) Close() { _ = w.Conn.Close() }
