package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
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
	// Parser and Routing decide where statements go; Reroute replaces the latter.
	Parser *parser.Cache
	Routing
	// Random is for the choice among replicas, as in router.Chooser.
	Random func() uint64
	// SessionMode keeps a session on one backend of the primary for its whole life.
	SessionMode bool
	// Auth is how clients prove who they are.
	Auth Auth
	// TLS is nil where TLS is not offered; RequireTLS refuses clients that do without.
	TLS        *tls.Config
	RequireTLS bool
	// Databases that may be asked for; empty means all of the primary's.
	Databases []string
	// Instance is this pgshunt's number among its Peers, which must be different from theirs.
	Instance uint8
	Peers    []Peer
	Limits   Limits
	// StartupTimeout bounds everything before the first query.
	StartupTimeout time.Duration
	// Loops serve the clients once they have been let in; nil where each has a goroutine.
	Loops *wire.Loops
}

// Server accepts clients and keeps their sessions.
type Server struct {
	cfg       Config
	pools     *pool.Pools
	parser    *parser.Cache
	catalog   *pool.Catalog
	welcomes  *lru.Cache[string, *welcome]
	admission atomic.Pointer[admission] // of cfg, until Readmit
	cancels   cancelRegistry
	models    modelChanges
	// unattended are trainings that go on without their clients.
	unattended unattendedSet
	verdicts   verdicts
	peers      peers
	// canceling and forwards bound the side connections of cancel requests.
	canceling, forwards slots
	plan                atomic.Pointer[plan] // replaced under planning
	planning            sync.Mutex
	databases           databases
	primaries           atomic.Uint64 // counts PrimaryMoved and Reroute
	tallies             tallies
	observe             func(*session, *parser.Statement, router.Decision, tallyKey)

	ctx      context.Context
	stop     context.CancelCauseFunc
	draining atomic.Bool
	census   *census
	work     sync.WaitGroup

	mu        sync.Mutex
	listeners []io.Closer
	sessions  map[*session]struct{}
}

// Sizes of the caches that all sessions share.
const (
	catalogSize  = 10000
	catalogBytes = 64 << 20
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
		cfg: cfg, pools: cfg.Pools, parser: cfg.Parser, catalog: pool.NewCatalog(catalogSize, catalogBytes), welcomes: welcomes,
		peers: newPeers(cfg.Instance, cfg.Peers), canceling: make(slots, maxCancels), forwards: make(slots, maxForwards),
		census: newCensus(cfg.Limits),
		ctx:    ctx, stop: stop,
		sessions: make(map[*session]struct{}),
	}
	srv.cancels.init()
	srv.admission.Store(cfg.admission())
	srv.plan.Store(&plan{&cfg.Routing, fleet})
	srv.cfg.Routing = Routing{} // the plan has it
	if cfg.Log.Enabled(ctx, slog.LevelDebug) {
		srv.observe = logDecision
	}
	return srv
}

// Serve accepts clients on l, which it takes over, until Shutdown or Close, and
// returns nil then.
func (srv *Server) Serve(l net.Listener) error {
	if srv.draining.Load() {
		return l.Close()
	}
	a := srv.cfg.Loops.Accept(l, srv.accept, func(err error) { srv.cfg.Log.Warn("accept failed", "error", err) })
	if a == nil {
		if !srv.listen(l) {
			return nil
		}
		return srv.acceptAll(l)
	}
	c := &closing{Closer: a, done: make(chan struct{})}
	if srv.listen(c) {
		<-c.done
	}
	return nil
}

// closing is a listener that tells when it has been closed.
type closing struct {
	io.Closer
	once sync.Once
	done chan struct{}
}

func (c *closing) Close() error {
	err := c.Closer.Close()
	c.once.Do(func() { close(c.done) })
	return err
}

// listen has Shutdown close l. It reports false, and closes it, where that is over.
func (srv *Server) listen(l io.Closer) bool {
	srv.mu.Lock()
	draining := srv.draining.Load()
	if !draining {
		srv.listeners = append(srv.listeners, l)
	}
	srv.mu.Unlock()
	if draining {
		_ = l.Close()
	}
	return !draining
}

// acceptAll accepts clients for whom there are no Loops.
func (srv *Server) acceptAll(l net.Listener) error {
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			srv.accept(wire.NewConn(nc))
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

const acceptPause = 50 * time.Millisecond

// accept begins to serve a connection: by its Loop, or on a goroutine of its own.
func (srv *Server) accept(c *wire.Conn) {
	seat, refusal := srv.census.arrive(addressOf(c))
	if refusal != nil {
		srv.cfg.Log.Info("connection refused", "client", c.RemoteAddr().String(), "error", refusal)
		turnAway(c, refusal)
		return
	}
	by := srv.admission.Load()
	patience := seat.timeout(by.startupTimeout)
	s := &session{srv: srv, by: by, client: c, seat: seat, log: srv.cfg.Log.With("client", c.RemoteAddr().String())}
	s.opening = opening{deadline: time.Now().Add(patience)}
	s.changed.L = &s.mu
	s.status = 'I'
	s.in = wire.NewReader(c, clientWhole, maxClientMessage)
	srv.mu.Lock()
	draining := srv.draining.Load()
	if !draining { // else Shutdown is waiting already for those that are being served
		srv.work.Add(1)
		srv.sessions[s] = struct{}{}
	}
	srv.mu.Unlock()
	switch {
	case draining:
		seat.leave()
		turnAway(c, errDraining)
	case c.Joined():
		s.impatience = time.AfterFunc(patience, s.wake)
		c.Handle(s)
		c.Resume()
	default:
		go s.serve()
	}
}

// serve is what a session without a Loop does, from its first byte to its last.
func (s *session) serve() {
	_ = s.client.SetDeadline(s.deadline)
	if s.begin() {
		s.depart(s.guarded(s.run))
	}
}

// Ready executes what the client has sent; a Loop calls it. The startup may find
// that the client wants TLS, which takes the session off its Loop: it goes on here.
func (s *session) Ready(t *wire.Turn) {
	if s.departed {
		return
	}
	s.turn = t
	if s.admitted {
		if err := s.guardedStep(); err != nil {
			s.depart(err)
		}
	} else if s.begin() {
		s.turn = nil
		s.depart(s.guarded(s.run))
		return
	}
	s.turn = nil
}

// begin brings the session past its startup. It reports true where the calling
// goroutine has to run it from then on.
func (s *session) begin() bool {
	err := s.guarded(s.startup)
	if errors.Is(err, errNotYet) {
		return false
	}
	if s.impatience != nil {
		s.impatience.Stop()
	}
	switch {
	case err != nil:
		s.refuse(err)
		s.srv.cancels.remove(s)
		s.finish()
		s.forget()
		return false
	case s.who.user == "": // a cancel request
		s.forget()
		return false
	}
	s.admitted, s.began = true, time.Now()
	s.want()
	s.log.Info("session started")
	if !s.client.Joined() {
		return true
	}
	// What the client has sent along with its startup need not be reported again.
	if err := s.guarded(s.advance); err != nil {
		s.depart(err)
	}
	return false
}

// depart ends a session that has been let in. err is nil or errLeft where the
// client knows why.
func (s *session) depart(err error) {
	if errors.Is(err, errHalfClosed) {
		s.linger()
	}
	s.srv.cancels.remove(s)
	if s.walsender == nil {
		s.srv.databases.add(s.who.database, -1)
	}
	s.finish()
	if err != nil && !errors.Is(err, errLeft) {
		s.lastWords(err)
		s.log.Info("session ended", "elapsed", time.Since(s.began), "error", err)
	} else {
		s.log.Info("session ended", "elapsed", time.Since(s.began))
	}
	s.forget()
}

// forget closes the connection and removes what the server knows of it.
func (s *session) forget() {
	srv := s.srv
	s.departed = true
	s.in.Release()
	s.client.End()
	srv.mu.Lock()
	delete(srv.sessions, s)
	srv.mu.Unlock()
	s.seat.leave()
	srv.work.Done()
}

// guarded runs a part of the session; a broken invariant ends it and no other.
func (s *session) guarded(part func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(p)
		}
	}()
	return part()
}

// guardedStep is guarded for step, without a closure: it is called for every message.
func (s *session) guardedStep() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(p)
		}
	}()
	return s.step()
}

func (s *session) panicked(p any) error {
	s.log.Error("panic in session", "error", p, "stack", string(debug.Stack()))
	return pgerr.Fatal(pgerr.Internal, "internal error in pgshunt").WithHint("See the log of pgshunt.").In("run")
}

// lastWords tells the client why its session ends, unless it has been told or somebody
// is about to have done so.
func (s *session) lastWords(err error) {
	_ = s.client.SetWriteDeadline(time.Now().Add(lastWordsTimeout))
	s.mu.Lock()
	told := s.end != nil && s.end != errDraining
	for s.phase.relaying {
		s.wait()
	}
	s.mu.Unlock()
	if !told {
		s.toClient(s.turn, appendError(nil, pgerr.From(err)))
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
	s.toClient(s.turn, appendError(nil, &e))
}

// Shutdown stops accepting, lets every session finish its transaction, and ends
// it with 57P01. Sessions that are not done when ctx ends are cut off, and trainings without
// clients are ended then.
func (srv *Server) Shutdown(ctx context.Context) error {
	srv.mu.Lock()
	srv.draining.Store(true)
	listeners := srv.listeners
	srv.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
	srv.mu.Lock()
	for s := range srv.sessions {
		s.wake()
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
	srv.unattended.stop()
	srv.mu.Lock()
	for s := range srv.sessions {
		s.cutOff()
	}
	srv.mu.Unlock()
	<-done
	return ctx.Err()
}

// errDraining ends sessions when the server shuts down.
var errDraining = pgerr.Fatal(pgerr.AdminShutdown, "terminating connection due to administrator command").In("Shutdown")
