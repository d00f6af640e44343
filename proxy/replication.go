package proxy

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// replicationKind is what the startup parameter "replication" asks for.
type replicationKind uint8

const (
	noReplication replicationKind = iota
	// physicalReplication belongs to no database.
	physicalReplication
	logicalReplication
)

// replicationOf reads the parameter as the server does.
func replicationOf(value string) (replicationKind, error) {
	if value == "database" {
		return logicalReplication, nil
	}
	on, ok := parseBool(value)
	switch {
	case !ok:
		return noReplication, pgerr.Fatal(pgerr.InvalidParameter, "invalid value for parameter %q: %q", "replication", value).
			WithHint(`Valid values are: "false", 0, "true", 1, "database".`).In("replicationOf")
	case on:
		return physicalReplication, nil
	}
	return noReplication, nil
}

// parseBool reads a Boolean setting (parse_bool in utils/adt/bool.c): any
// unambiguous beginning of true, false, yes, no, on and off, or 1 or 0.
func parseBool(value string) (on, ok bool) {
	v := strings.ToLower(value)
	switch {
	case v == "":
		return false, false
	case v == "1", v == "on", strings.HasPrefix("true", v), strings.HasPrefix("yes", v):
		return true, true
	case v == "0", v == "of", v == "off", strings.HasPrefix("false", v), strings.HasPrefix("no", v):
		return false, true
	}
	return false, false
}

// walsender is a session's connection for replication and what is known of it.
// From its welcome on everything is passed on as it is, both ways: the session's
// goroutine reads the client, another one the server.
type walsender struct {
	*pool.Walsender

	in *wire.Reader // for the server's goroutine until it is done
	// owed counts the ReadyForQuery messages that commands will end with.
	owed atomic.Int64

	mu sync.Mutex
	// ended: the server's goroutine is done, for the reason err.
	ended bool
	err   error
}

// openWalsender logs in to the primary for a client that has been authenticated,
// and welcomes it with what the server has said. Such a session has a backend of
// its own: it takes no place in a pool.
func (s *session) openWalsender(startup *pool.Settings, longKey bool) error {
	physical := s.who.replication == physicalReplication
	if physical && len(s.by.databases) > 0 {
		return pgerr.Fatal(pgerr.InvalidAuth, "physical replication is not permitted").
			WithDetail("It would carry all databases of the primary, and pgshunt serves only those that its configuration names.").In("openWalsender")
	}
	if s.client.Joined() {
		nc, err := s.leaveLoop()
		if err != nil {
			return err
		}
		s.readAlone(nc)
		s.in.Reset(s.client)
	}
	params := make(map[string]string)
	for _, set := range startup.All() {
		if set.SQL != "" { // not one of pgshunt itself
			params[set.Name] = set.Value
		}
	}
	ctx, cancel := context.WithTimeoutCause(s.srv.ctx, s.by.startupTimeout, errStartupTimeout)
	defer cancel()
	key := pool.Key{Target: primaryTarget, User: s.who.user, Database: s.who.database}
	if physical {
		key.Database = "replication"
	}
	w, err := s.srv.pools.OpenWalsender(ctx, key, physical, params)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.walsender = &walsender{Walsender: w, in: wire.NewReader(w.Conn, &wire.Types{}, maxServerMessage)}
	s.mu.Unlock()
	var reported []pgproto3.ParameterStatus
	for _, name := range slices.Sorted(maps.Keys(w.Params)) {
		reported = append(reported, pgproto3.ParameterStatus{Name: name, Value: w.Params[name]})
	}
	return s.letIn(reported, w.PID, longKey)
}

// replicate passes everything on until one side ends. The client's end ends the
// server's connection; what the server says last is the client's.
func (s *session) replicate() error {
	w := s.walsender
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := s.guarded(s.relayWalsender)
		w.mu.Lock()
		w.ended, w.err = true, err
		w.mu.Unlock()
		w.StopWriting()
		s.wake()
	}()
	err := s.feedWalsender()
	_ = s.client.SetWriteDeadline(time.Now().Add(lastWordsTimeout)) // the other goroutine may be waiting for it to read
	if ended, _ := w.end(); !ended && w.owed.Load() > 0 {
		s.abandonWalsender()
	}
	w.Close()
	<-done
	if err == nil {
		_, err = w.end()
	}
	if err != nil && w.in.MidMessage() { // there is no place for a word of ours
		return errors.Join(errLeft, err)
	}
	return err
}

func (w *walsender) end() (ended bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended, w.err
}

// feedWalsender passes on what the client sends, until it leaves, the server
// ends, or the session must.
func (s *session) feedWalsender() error {
	w := s.walsender
	for {
		from := s.in.Pos()
		for {
			var m wire.Message
			ok, err := s.in.Next(&m)
			if err != nil {
				return pgerr.Fatal(pgerr.ProtocolViolation, "invalid message length").Because(err).In("feedWalsender")
			}
			if !ok {
				break
			}
			if e := s.oversized(&m); e != nil {
				return e
			}
			if m.First && (m.Type == 'Q' || m.Type == 'F' || m.Type == 'S') {
				w.owed.Add(1)
			}
		}
		if run := s.in.Span(from, s.in.Pos()); len(run) > 0 {
			if _, err := w.Conn.Write(run); err != nil {
				// Its own goroutine knows more: what the server said last.
				s.log.Debug("write to server failed", "target", primaryTarget, "error", err)
				w.StopWriting()
			}
		}
		err := s.in.Fill()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if ended, _ := w.end(); ended {
				return nil
			}
			if err = s.woken(); err == nil && s.srv.draining.Load() {
				w.Conn.Wake() // the other goroutine decides when
			}
		} else if err != nil {
			return errors.Join(errLeft, err)
		}
		if err != nil {
			return err
		}
	}
}

// relayWalsender passes on what the server sends, in whole messages where they
// are small, so that there is a place for a word of ours. A shutdown ends a
// stream of changes at once, which would have no end of its own, and anything else
// when the server is ready for the next command.
func (s *session) relayWalsender() error {
	w := s.walsender
	conn, in := w.Conn, w.in
	defer in.Release()
	var (
		endless  = false // it sends what has no end of its own
		farewell = false // it has announced that it ends the connection
	)
	for {
		if s.srv.draining.Load() && !in.MidMessage() && (w.owed.Load() == 0 || endless) {
			return errDraining
		}
		err := in.Fill()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && s.srv.draining.Load():
			if err := conn.ClearWake(); err != nil {
				return err
			}
			continue
		case errors.Is(err, net.ErrClosed), err != nil && farewell: // closed by us, or as announced
			return nil
		case err != nil:
			return walsenderLost(err)
		}
		from := in.Pos()
		for {
			var m wire.Message
			ok, err := in.Next(&m)
			if err != nil {
				return walsenderLost(err)
			}
			if !ok {
				break
			}
			// A server that shuts down ends a stream with CommandComplete and closes.
			farewell = m.Type == 'E' && m.Whole() && isFatal(m.Body()) || m.Type == 'C' && endless
			endless = m.Type == 'W' || endless && m.Type != 'Z'
			if m.Type == 'Z' && w.owed.Load() > 0 { // only this goroutine lowers it
				w.owed.Add(-1)
			}
		}
		if run := in.Span(from, in.Pos()); len(run) > 0 {
			if _, err := s.client.Write(run); err != nil {
				return errors.Join(errLeft, err)
			}
		}
	}
}

// maxServerMessage is PostgreSQL's own limit on a message (MaxAllocSize).
const maxServerMessage = 1 << 30

// walsenderLost is the end of a connection to the server that it did not announce.
func walsenderLost(err error) error {
	return pgerr.Fatal(pgerr.ConnectionFailure, "connection to server %q was lost", primaryTarget).Because(err).In("relayWalsender")
}

// abandonWalsender stops what the server is doing for a client that has gone: a
// backup that waits for a checkpoint would notice only when it writes.
func (s *session) abandonWalsender() {
	ctx, cancel := context.WithTimeout(context.Background(), cancelTimeout)
	defer cancel()
	if err := s.walsender.Cancel(ctx); err != nil {
		s.log.Debug("cancel of an abandoned replication failed", "target", primaryTarget, "error", err)
	}
}

// cancelWalsender serves a cancel request. The connection is this session's alone,
// so the request can hit nobody else.
func (s *session) cancelWalsender() {
	ctx, cancel := context.WithTimeout(s.srv.ctx, cancelTimeout)
	defer cancel()
	if err := s.walsender.Cancel(ctx); err != nil {
		s.log.Warn("cancel failed", "target", primaryTarget, "error", err)
	}
}
