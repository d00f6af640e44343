package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/parser"
	"pgshunt/pool"
	"pgshunt/router"
)

// Config is what a Server needs; all of it is read-only once given.
type Config struct {
	Log   *slog.Logger
	Pools *pool.Pools
	// Parser and Policy decide where statements go.
	Parser *parser.Cache
	Policy *router.Policy
	// SessionMode keeps a session on one backend of the primary for its whole life.
	SessionMode bool
	// Auth is how clients prove who they are.
	Auth Auth
	// TLS is nil where TLS is not offered; RequireTLS refuses clients that do without.
	TLS        *tls.Config
	RequireTLS bool
	// Databases that may be asked for; empty means all of the primary's.
	Databases []string
	// MaxClients bounds connections, authenticated or not.
	MaxClients int
	// StartupTimeout bounds everything before the first query.
	StartupTimeout time.Duration
}

// Server accepts clients and keeps their sessions.
type Server struct {
	cfg      Config
	pools    *pool.Pools
	parser   *parser.Cache
	catalog  *pool.Catalog
	welcomes *lru.Cache[string, *welcome]
	cancels  cancelRegistry
	fleet    atomic.Pointer[router.Fleet]
	observe  func(*session, *parser.Statement, router.Decision)

	ctx      context.Context
	stop     context.CancelCauseFunc
	draining atomic.Bool
	clients  atomic.Int64
	work     sync.WaitGroup

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	sessions  map[*session]struct{}
	conns     map[net.Conn]struct{}
}

// Sizes of the caches that all sessions share.
const (
	catalogSize  = 10000
	welcomesSize = 1000
)

// New returns a Server for a fleet.
func New(cfg Config, fleet *router.Fleet) *Server {
	welcomes, err := lru.New[string, *welcome](welcomesSize)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	ctx, stop := context.WithCancelCause(context.Background())
	srv := &Server{
		cfg: cfg, pools: cfg.Pools, parser: cfg.Parser, catalog: pool.NewCatalog(catalogSize), welcomes: welcomes,
		ctx: ctx, stop: stop,
		listeners: make(map[net.Listener]struct{}), sessions: make(map[*session]struct{}), conns: make(map[net.Conn]struct{}),
	}
	srv.cancels.init()
	srv.fleet.Store(fleet)
	if cfg.Log.Enabled(ctx, slog.LevelDebug) {
		srv.observe = logDecision
	}
	return srv
}

// SetFleet replaces the snapshot that decisions are made from.
func (srv *Server) SetFleet(f *router.Fleet) { srv.fleet.Store(f) }

// Serve accepts clients on l until Shutdown or Close, and returns nil then.
func (srv *Server) Serve(l net.Listener) error {
	srv.mu.Lock()
	srv.listeners[l] = struct{}{}
	srv.mu.Unlock()
	if srv.draining.Load() { // Shutdown may have come before the listener was known
		return l.Close()
	}
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			srv.accept(nc)
		case srv.draining.Load():
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of descriptors, or a client gone before it was accepted
			srv.cfg.Log.Warn("accept failed", "error", err)
			select {
			case <-srv.ctx.Done():
			case <-time.After(acceptPause):
			}
		}
	}
}

// accept starts serving a connection, unless Shutdown is waiting for those that
// are being served already.
func (srv *Server) accept(nc net.Conn) {
	srv.mu.Lock()
	draining := srv.draining.Load()
	if !draining {
		srv.work.Go(func() { srv.handle(nc) })
	}
	srv.mu.Unlock()
	if draining {
		_ = nc.SetWriteDeadline(time.Now().Add(lastWordsTimeout))
		_, _ = nc.Write(appendError(nil, errDraining))
		_ = nc.Close()
	}
}

const acceptPause = 50 * time.Millisecond

// handle serves one connection from its first byte to its last.
func (srv *Server) handle(nc net.Conn) {
	_ = nc.SetDeadline(time.Now().Add(srv.cfg.StartupTimeout)) // until the welcome is out
	srv.mu.Lock()
	srv.conns[nc] = struct{}{}
	if srv.draining.Load() {
		_ = nc.SetReadDeadline(time.Unix(1, 0))
	}
	srv.mu.Unlock()
	defer func() {
		srv.mu.Lock()
		delete(srv.conns, nc)
		srv.mu.Unlock()
	}()
	n := srv.clients.Add(1)
	defer srv.clients.Add(-1)
	s := &session{srv: srv, client: wire.NewConn(nc), log: srv.cfg.Log.With("client", nc.RemoteAddr().String())}
	s.changed.L = &s.mu
	s.status = 'I'
	s.in = wire.NewReader(s.client, clientWhole, maxClientMessage)
	srv.mu.Lock()
	srv.sessions[s] = struct{}{}
	srv.mu.Unlock()
	defer func() {
		srv.mu.Lock()
		delete(srv.sessions, s)
		srv.mu.Unlock()
	}()
	defer func() { s.in.Release(); _ = s.client.Close() }()
	full := int(n) > srv.cfg.MaxClients
	if err := s.guarded(func() error { return s.startup(full) }); err != nil {
		s.refuse(err)
		srv.cancels.remove(s)
		s.finish()
		return
	}
	if s.who.user == "" { // a cancel request
		return
	}
	srv.serve(s)
}

// serve runs a session that has been let in.
func (srv *Server) serve(s *session) {
	began := time.Now()
	s.log.Info("session started")
	err := s.guarded(s.run)
	srv.cancels.remove(s)
	s.finish()
	if err != nil && !errors.Is(err, errLeft) {
		s.lastWords(err)
		s.log.Info("session ended", "elapsed", time.Since(began), "error", err)
		return
	}
	s.log.Info("session ended", "elapsed", time.Since(began))
}

// guarded runs a part of the session; a broken invariant ends it and no other.
func (s *session) guarded(part func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic in session", "error", p, "stack", string(debug.Stack()))
			err = pgerr.Fatal(pgerr.Internal, "internal error in pgshunt").WithHint("See the log of pgshunt.").In("run")
		}
	}()
	return part()
}

// lastWords tells the client why its session ends, unless it has been told.
func (s *session) lastWords(err error) {
	_ = s.client.SetWriteDeadline(time.Now().Add(lastWordsTimeout))
	s.mu.Lock()
	told := s.end != nil && s.end != errDraining
	for s.phase.relaying && !told {
		s.changed.Wait()
	}
	s.mu.Unlock()
	if !told {
		s.toClient(appendError(nil, pgerr.From(err)))
	}
}

// lastWordsTimeout bounds the wait for a client that does not read its farewell.
const lastWordsTimeout = 2 * time.Second

// refuse answers a connection that does not become a session.
func (s *session) refuse(err error) {
	if errors.Is(err, errLeft) || errors.Is(err, errSilent) {
		s.log.Debug("connection ended during startup", "error", err)
		return
	}
	s.log.Info("connection refused", "error", err)
	e := *pgerr.From(err)
	e.Severity = "FATAL"
	_ = s.client.SetWriteDeadline(time.Now().Add(lastWordsTimeout))
	s.toClient(appendError(nil, &e))
}

// Shutdown stops accepting, lets every session finish its transaction, and ends
// it with 57P01. Sessions that are not done when ctx ends are cut off.
func (srv *Server) Shutdown(ctx context.Context) error {
	srv.mu.Lock()
	srv.draining.Store(true)
	for l := range srv.listeners {
		_ = l.Close()
	}
	for nc := range srv.conns { // sessions, and those that are not there yet
		_ = nc.SetReadDeadline(time.Unix(1, 0))
	}
	srv.mu.Unlock()
	done := make(chan struct{})
	go func() { srv.work.Wait(); close(done) }()
	select {
	case <-done:
		srv.stop(nil)
		return nil
	case <-ctx.Done():
	}
	srv.stop(errDraining)
	srv.mu.Lock()
	for s := range srv.sessions {
		s.cutOff()
	}
	for nc := range srv.conns {
		_ = nc.SetReadDeadline(time.Unix(1, 0))
		_ = nc.SetWriteDeadline(time.Now().Add(lastWordsTimeout))
	}
	srv.mu.Unlock()
	<-done
	return ctx.Err()
}

// errDraining ends sessions when the server shuts down.
var errDraining = pgerr.Fatal(pgerr.AdminShutdown, "terminating connection due to administrator command").In("Shutdown")

func logDecision(s *session, st *parser.Statement, d router.Decision) {
	kind := "empty"
	if len(st.Parts) > 0 {
		kind = st.Parts[0].Kind.String()
	}
	target := d.Target
	if d.Place == router.Primary || d.Place == router.Stay {
		target = primaryTarget
	}
	s.log.Debug("statement routed", "role", d.Place.String(), "target", target, "rule", d.Rule, "reason", d.Text(), "kind", kind)
}
