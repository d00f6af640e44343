package proxy

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
)

// Codes that stand where a startup packet has its protocol version
// (libpq/pqcomm.h).
const (
	codeCancel = 1234<<16 | 5678
	codeSSL    = 1234<<16 | 5679
	codeGSS    = 1234<<16 | 5680

	majorVersion = 3
	newestMinor  = 2 // there is no 3.1
)

// errSilent ends a connection without a word, as PostgreSQL does where an answer
// would make no sense to the other side.
var errSilent = errors.New("not a PostgreSQL client")

// errNotYet is returned by startup while the first packet has not arrived: nothing
// has happened, and it is to be called again when more is here.
var errNotYet = errors.New("the startup packet has not arrived")

// startup brings a connection to the point where it may send queries. For a
// cancel request it serves the request and leaves s.who empty.
func (s *session) startup() error {
	body, err := s.openingPacket()
	if err != nil {
		return err
	}
	code := binary.BigEndian.Uint32(body)
	if code == codeCancel || code == codePeerCancel {
		s.turn.Block()
		s.srv.cancelRequest(body[4:], code == codePeerCancel)
		return nil
	}
	if code>>16 != majorVersion {
		return pgerr.Fatal(pgerr.FeatureNotSupported, "unsupported frontend protocol %d.%d: server supports %d.0 to %d.%d",
			code>>16, code&0xffff, majorVersion, majorVersion, newestMinor).In("startup")
	}
	params, err := startupParams(body[4:])
	if err != nil {
		return err
	}
	minor := code & 0xffff
	if err := s.negotiate(minor, params); err != nil {
		return err
	}
	if s.seat.refusal != nil {
		return s.seat.refusal
	}
	return s.admit(params, minor >= newestMinor)
}

// openingPacket answers requests for encryption and returns the body of the
// first packet that is something else, valid until the next read.
func (s *session) openingPacket() ([]byte, error) {
	for {
		body, err := s.startupPacket()
		if err != nil {
			return nil, err
		}
		code := binary.BigEndian.Uint32(body)
		switch code {
		case codeSSL, codeGSS:
		default:
			return body, nil
		}
		if s.in.Buffered() > 0 { // whoever put it there wants it taken for something said under encryption
			asked := "SSL request"
			if code == codeGSS {
				asked = "GSSAPI encryption request"
			}
			return nil, pgerr.Fatal(pgerr.ProtocolViolation, "received unencrypted data after %s", asked).
				WithDetail("This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.").In("startup")
		}
		again := &s.asked[code-codeSSL]
		if *again || code == codeSSL && s.client.TLS() != nil {
			return nil, pgerr.Fatal(pgerr.ProtocolViolation, "encryption requested twice").In("startup")
		}
		*again = true
		if code == codeGSS || s.by.tls == nil {
			if _, err := s.client.WriteIn(s.turn, []byte{'N'}); err != nil {
				return nil, errors.Join(errLeft, err)
			}
			continue
		}
		if _, err := s.client.WriteIn(s.turn, []byte{'S'}); err != nil {
			return nil, errors.Join(errLeft, err)
		}
		nc, err := s.leaveLoop()
		if err != nil {
			return nil, err
		}
		if err := s.encrypt(nc, s.by.tls); err != nil {
			return nil, err
		}
	}
}

// startupPacket reads one packet without a type byte.
func (s *session) startupPacket() ([]byte, error) {
	for {
		if first := s.in.Unread(); len(first) > 0 && first[0] == tlsHandshake && s.client.TLS() == nil {
			if err := s.directTLS(first); err != nil {
				return nil, err
			}
			continue
		}
		body, ok, err := s.in.NextStartup()
		if err != nil {
			return nil, pgerr.Fatal(pgerr.ProtocolViolation, "invalid length of startup packet").Because(err).In("startup")
		}
		if ok {
			return body, nil
		}
		if err := s.fillOpening(); err != nil {
			return nil, err
		}
	}
}

// fillOpening reads what has arrived of the first packets. On a Loop it does not
// wait for more: connections that say nothing are to cost nothing.
func (s *session) fillOpening() error {
	if !s.client.Joined() {
		return s.fillStartup()
	}
	ok, err := s.in.FillNow(s.turn)
	switch {
	case ok:
		return nil
	case err == nil && s.srv.draining.Load(), err == nil && !time.Now().Before(s.deadline):
		return s.startupOver(os.ErrDeadlineExceeded)
	case err == nil:
		return errNotYet
	}
	return s.startupOver(err)
}

// fillStartup waits for more from a client that is being let in.
func (s *session) fillStartup() error {
	var err error
	if s.client.Joined() {
		err = s.in.FillIn(s.turn, s.deadline)
	} else {
		err = s.in.Fill()
	}
	if err != nil {
		return s.startupOver(err)
	}
	return nil
}

// startupOver words an error of reading a client that is being let in.
func (s *session) startupOver(err error) error {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return errors.Join(errLeft, err)
	case s.srv.draining.Load():
		return errDraining
	}
	return pgerr.Fatal(pgerr.QueryCanceled, "canceling authentication due to timeout").In("startup")
}

// tlsHandshake is the first byte of a TLS connection.
const tlsHandshake = 0x16

// alpn is the protocol that direct TLS must name.
const alpn = "postgresql"

// directTLS accepts TLS without a request for it (PostgreSQL 17,
// sslnegotiation=direct), which is allowed only with ALPN.
func (s *session) directTLS(received []byte) error {
	if s.by.tls == nil {
		return errSilent
	}
	cfg := s.by.tls.Clone()
	cfg.NextProtos = []string{alpn}
	plain, err := s.leaveLoop()
	if err != nil {
		return err
	}
	nc := &prefixedConn{Conn: plain, prefix: bytes.Clone(received)}
	s.in.Release()
	if err := s.encrypt(nc, cfg); err != nil {
		return err
	}
	if s.client.TLS().NegotiatedProtocol != alpn {
		return pgerr.Fatal(pgerr.ProtocolViolation, "received direct SSL connection request without ALPN protocol negotiation extension").In("startup")
	}
	return nil
}

// leaveLoop takes the connection off its Loop for TLS or replication, which this
// goroutine serves from then on.
func (s *session) leaveLoop() (net.Conn, error) {
	s.turn.Block()
	nc, err := s.client.Detach()
	if err != nil {
		return nil, errors.Join(errSilent, err)
	}
	return nc, nil
}

func (s *session) encrypt(nc net.Conn, cfg *tls.Config) error {
	tc := tls.Server(nc, cfg)
	s.readAlone(tc)
	if err := tc.Handshake(); err != nil {
		return errors.Join(errSilent, err)
	}
	s.in.Reset(s.client)
	return nil
}

// readAlone replaces the session's connection by one that no Loop serves.
func (s *session) readAlone(nc net.Conn) {
	s.mu.Lock()
	s.client = wire.NewConn(nc)
	s.mu.Unlock()
	_ = s.client.SetDeadline(s.deadline)
	if s.srv.draining.Load() { // whoever woke the session may have woken what it was before
		s.wake()
	}
}

// prefixedConn gives back bytes that were read before it was known what they are.
type prefixedConn struct {
	net.Conn
	prefix []byte
}

// NetConn is for who wants to know of the socket, as with a tls.Conn.
func (c *prefixedConn) NetConn() net.Conn { return c.Conn }

func (c *prefixedConn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// negotiate tells a client that speaks a newer protocol, or knows options that
// we do not, what it gets instead. The version is sent whole, as PostgreSQL does,
// although the documentation speaks of the minor one.
func (s *session) negotiate(minor uint32, params []param) error {
	var unknown []string
	for _, p := range params {
		if strings.HasPrefix(p.name, "_pq_.") {
			unknown = append(unknown, p.name)
		}
	}
	if minor <= newestMinor && len(unknown) == 0 {
		return nil
	}
	out, err := (&pgproto3.NegotiateProtocolVersion{
		NewestMinorProtocol: majorVersion<<16 | min(minor, newestMinor), UnrecognizedOptions: unknown,
	}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := s.client.WriteIn(s.turn, out); err != nil {
		return errors.Join(errLeft, err)
	}
	return nil
}

// admit authenticates the client and welcomes it.
func (s *session) admit(params []param, longKey bool) error {
	startup, err := s.identify(params)
	if err != nil {
		return err
	}
	s.log = s.log.With("user", s.who.user, "database", s.who.database)
	if s.by.requireTLS && s.client.TLS() == nil {
		return pgerr.Fatal(pgerr.InvalidAuth, "this server accepts encrypted connections only").
			WithHint("Connect with sslmode=require.").In("admit")
	}
	if err := s.authenticate(); err != nil {
		return err
	}
	if allowed := s.by.databases; len(allowed) > 0 && !slices.Contains(allowed, s.who.database) && s.who.replication != physicalReplication {
		return pgerr.Fatal(pgerr.UndefinedDatabase, "database %q does not exist", s.who.database).
			WithDetail("pgshunt serves only the databases that its configuration names.").In("admit")
	}
	if err := s.seat.enter(s.who.user); err != nil {
		return err
	}
	if s.who.replication != noReplication {
		return s.openWalsender(startup, longKey)
	}
	w, err := s.greet(startup)
	if err != nil {
		return err
	}
	s.who.path = w.path
	pin := ""
	if s.srv.cfg.SessionMode {
		pin = pinSession
	}
	s.state.start(startup, pin)
	s.state.welcomed(w.params)
	s.state.native = native(w.params)
	s.view.User, s.view.Database, s.view.Application = s.who.user, s.who.database, s.who.application
	s.view.SearchPath = splitPath(s.state.searchPath(w.path), s.state.currentUser(s.who.user))
	s.state.modes.snapshots = oneSnapshot(w.isolation)
	s.state.login.isolation, s.state.login.readOnly = w.isolation, w.readOnly
	s.view.Cursor, s.view.Prepared = placeOf(&s.made.cursors), placeOf(&s.made.prepared)
	return s.sendWelcome(w, longKey)
}

// sendWelcome welcomes a client to a session of statements.
func (s *session) sendWelcome(w *welcome, longKey bool) error {
	pid := w.pid
	if s.srv.cfg.SessionMode {
		if err := s.attach(primaryTarget, 0); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
		pid = s.to.PID
	}
	return s.letIn(w.params, pid, longKey)
}

// letIn ends the startup: authentication is fine, these are the parameters, this
// is the key, ask what you like.
func (s *session) letIn(params []pgproto3.ParameterStatus, pid uint32, longKey bool) error {
	s.who.key = s.srv.peers.newCancelKey(pid, longKey)
	s.srv.cancels.add(s)
	out, err := (&pgproto3.AuthenticationOk{}).Encode(nil)
	for i := range params {
		if err == nil {
			out, err = params[i].Encode(out)
		}
	}
	if err == nil {
		out, err = (&pgproto3.BackendKeyData{ProcessID: s.who.key.pid, SecretKey: s.who.key.secret}).Encode(out)
	}
	if err != nil {
		return err
	}
	if err := s.answer(append(out, fakeReply('S', 'I')...)); err != nil {
		return err
	}
	return s.client.SetDeadline(time.Time{})
}
