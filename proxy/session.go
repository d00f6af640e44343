package proxy

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
	"pgshunt/pool"
	"pgshunt/router"
)

// session is one client connection and all its state. Its goroutine reads the
// client; what is shared with the goroutines of backends is in link, state and
// the fields marked so.
type session struct {
	link
	srv    *Server
	by     *admission
	client *wire.Conn // replaced under link.mu by one that is encrypted
	in     *wire.Reader
	log    *slog.Logger
	seat   *seat
	who    identity
	names  names
	rec    record
	try    attempt
	view   router.View
	// alike is what view's constant parts amount to, nil when that is not known; usual is
	// set where view is otherwise that of a session that has just begun.
	alike *alike
	usual bool
	// steady: when the session last looked nothing was under way and it was as usual, and
	// nothing but plain statements has been sent since. Its settings are those seen.
	steady bool
	// decision is the last that was not one of the Server's verdicts; plan made the last of all.
	decision router.Decision
	plan     *plan
	// explains: the client is told of each decision; unseen: the last may write unseen; bounded is
	// how long the last may take, toTrain what it trains.
	explains, unseen bool
	bounded          time.Duration
	toTrain          *training
	recentTallies
	parsed, standsIn parsed // standsIn: where the primary has taken a replica's place

	// ordering is a schema change of the session that replicas have been prepared for; ran,
	// that something of the batch at hand has been. Both only for the session's goroutine.
	ordering Ordering
	ran      bool
	large    large

	// passing tells whether the pieces that follow of a large message go to the
	// current backend; refused, that everything up to Sync is dropped because of an
	// error made here. Both only for the session's goroutine.
	passing, refused bool
	// copySent: a statement is on its way for which the server may expect copy data.
	copySent bool
	// interrupted: the server has been sent a message that has no place among copy data,
	// and is likely to hang up.
	interrupted bool
	// resets: a statement is on its way that may reset what the client connected with;
	// reset: there has been one.
	resets, reset bool
	// made is what the session has made on a replica; for its goroutine only.
	made made
	// portals holds the named portals that the session has on the replica, as far as they have not
	// ended with a batch or a block; for its goroutine only.
	portals []*portal
	// reached is how far replicas are known to be. free: the replica of the decision at hand
	// was chosen here, so that another may take its place.
	reached reached
	free    bool
	// last is the primary's backend that the session had last, which may be another's now.
	last *pool.Backend
	// tenant is the session to backends of the primary; stranger is set from the moment
	// it gets one that another had before until a statement may have used a sequence.
	tenant   *pool.Tenant
	stranger bool
	// to is where the session's goroutine writes: what was current when it last looked.
	to        *pool.Backend
	toPrimary bool // to is the primary's
	// curbed: statements on the primary may be under a bound that a rule has set; curbedThere
	// is the bound on the replica. boundIs is what there made of boundOf and boundBy.
	curbed               bool
	curbedThere, boundBy time.Duration
	laid                 laid
	// waited is how long the statements at hand, up to a Sync, have waited for a backend.
	waited time.Duration
	// stood: they have waited for a backend, or for anything else.
	stood            bool
	boundOf, boundIs *pool.Settings
	// abroadIs is what abroad made of abroadOf.
	abroadOf, abroadIs *pool.Settings
	// turn is what the session's goroutine must Block before it waits; nil where it may.
	turn *wire.Turn
	opening
	// began is when the session was let in.
	began time.Time
	// admitted: the startup is over. departed: so is everything.
	admitted, departed bool
	// untouched: nothing has been done about the message at hand, which may be put back;
	// putBack: it has been, and comes for the second time. Only for the session's goroutine.
	untouched, putBack bool

	// walsender is set, once, in a session for replication, which uses nothing of link.
	walsender *walsender

	// Guarded by link.mu:
	state      state
	line       line
	seen       *pool.Settings          // the settings that view was made from
	deaf       bool                    // the client does not take answers any more
	refusal    *pgerr.Error            // what a server said of a setting, last
	replaced   uint64                  // counts what replaces the unnamed statement on the current backend
	replacedIn uint64                  // the batch in which the last of that was sent
	undone     []*nameChange           // name changes that failed on the server
	bySQL      []*nameChange           // name changes that SQL has made
	renamed    mark                    // there are undone or bySQL
	complaint  *pgerr.Error            // what a server said of a statement prepared for SQL, last
	canceled   *pool.Backend           // was terminated in order to cancel what it ran
	deploys    bool                    // something that may change models is on its way
	stopWait   context.CancelCauseFunc // ends what await runs; nil when there is nothing
}

// opening is what a session needs during its startup.
type opening struct {
	deadline   time.Time
	impatience *time.Timer // wakes the session at the deadline; nil without a Loop
	asked      [2]bool     // for TLS, for GSSAPI encryption
}

// identity is who the client is, as far as pools and policies ask.
type identity struct {
	user, database, application string
	// A login of this user to this database has path as its search_path.
	path string
	// replication is what kind of connection for it the client asked for, if any.
	replication replicationKind
	key         cancelKey
	pool        *pool.Pool // of the primary, once it has been used
}

// run serves a client that is read by a goroutine of its own until it leaves or
// must leave.
func (s *session) run() error {
	if s.walsender != nil {
		return s.replicate()
	}
	for {
		if err := s.advance(); err != nil {
			return err
		}
		switch err := s.in.Fill(); {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			if err := s.woken(); err != nil {
				return err
			}
		default:
			return left(err)
		}
	}
}

// step reads what the client has sent and executes it, without waiting for more.
// A Loop has it called when something has arrived, or when the session was woken.
func (s *session) step() error {
	if s.inLine() {
		return s.stepInLine()
	}
	if _, err := s.in.FillNow(s.turn); err != nil {
		return left(err)
	}
	return s.advance()
}

// advance executes the messages that have been read and parks.
func (s *session) advance() error {
	var m wire.Message
	for {
		ok, err := s.in.Next(&m)
		if (s.rec.sent || s.try.sent) && (ok || err != nil) {
			if err := s.repeatIfAsked(); err != nil {
				return err
			}
		}
		if err != nil {
			return s.afterAnswers(pgerr.Fatal(pgerr.ProtocolViolation, "invalid message length").Because(err).In("run"))
		}
		if !ok {
			return s.park()
		}
		if m.Type == 'X' && m.First {
			if err := s.goodbye(&m); err != nil {
				return err
			}
			continue
		}
		s.untouched = s.turn.Leads()
		if err := s.dispatch(&m); err != nil {
			if err == errInLine {
				s.in.Back(&m)
				s.putBack = true
				return nil
			}
			s.putBack = false
			return err
		}
		s.putBack = false
	}
}

// goodbye handles a Terminate message. Among copy data it is one that has no place there.
func (s *session) goodbye(m *wire.Message) error {
	if s.copySent || s.copying() {
		if err := s.settle(); err != nil {
			return err
		}
		if s.copying() {
			return s.interruptCopy(m)
		}
	}
	s.leave()
	if err := s.probeInterrupted(); err != nil {
		return err
	}
	if err := s.settle(); err != nil {
		return err
	}
	return errLeft
}

// errLeft is the end of the stream.
var errLeft = errors.New("client closed the connection")

// park writes what has been gathered and lets go of the backend if nothing keeps it.
func (s *session) park() error {
	s.recordIdle()
	if err := s.flush(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.phase.again {
		batch := s.takeAgain()
		s.mu.Unlock()
		if err := s.repeatBatch(batch); err != nil {
			return err
		}
		return s.park()
	}
	s.phase.writing = s.passing && s.in.MidMessage()
	if !s.phase.writing {
		s.to = nil
	}
	detached := s.detachIfDone()
	end := s.end
	s.mu.Unlock()
	s.release(detached)
	if end != nil {
		return end
	}
	if s.srv.draining.Load() && s.idle() {
		return errDraining
	}
	s.in.Rest(s.turn)
	return nil
}

// woken is called when somebody has set a past deadline to get the session's attention.
func (s *session) woken() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end != nil {
		return s.end
	}
	return s.client.ClearWake()
}

// wake gets the attention of a session that waits for its client. The caller does
// not hold mu.
func (s *session) wake() {
	s.mu.Lock()
	c := s.client
	s.mu.Unlock()
	c.Wake()
}

// hangUp ends the session from another goroutine; the reason is in link.end.
func (s *session) hangUp() { s.wake() }

// cutOff ends the session in the middle of what it does.
func (s *session) cutOff() {
	s.mu.Lock()
	if s.end == nil {
		s.end = errDraining
		s.changed.Broadcast()
	}
	for _, b := range []*pool.Backend{s.primary, s.replica} {
		if b != nil {
			b.StopWriting() // the session's goroutine may be waiting for that
		}
	}
	if s.walsender != nil {
		s.walsender.StopWriting()
	}
	_ = s.client.SetWriteDeadline(time.Now().Add(lastWordsTimeout))
	s.mu.Unlock()
	s.wake()
}

// idle tells whether the session is between transactions with nothing under way.
func (s *session) idle() bool {
	s.mu.Lock()
	is := s.quiet() && s.status == 'I' && !s.phase.openPrimary && !s.phase.openReplica && !s.in.MidMessage()
	s.mu.Unlock()
	return is
}

// wait waits for a change of what the link holds. The caller holds mu, and is the
// session's goroutine.
func (s *session) wait() {
	s.turn.Block()
	s.changed.Wait()
}
