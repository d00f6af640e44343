package proxy

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"pgshunt/internal/pgerr"
	"pgshunt/internal/wire"
)

// Limits bound the connections and messages of clients; 0 is no bound of its own.
type Limits struct {
	// Clients is how many sessions there may be. Connections that have not been
	// authenticated yet take none of these places.
	Clients int
	// PerUser is how many sessions one user may have.
	PerUser int
	// PerAddress is how many connections may come from one address, in whatever state.
	PerAddress int
	// Startups is how many connections may be on their way to being a session; 0
	// is as many as Clients.
	Startups int
	// Message is the largest message in bytes; 0 is PostgreSQL's own limit.
	Message int
	// Prepared bounds the names and texts of a session's prepared statements, in bytes.
	Prepared int
}

// unquestioned is the size of messages up to which no limit applies to any.
func (l *Limits) unquestioned() int {
	if l.Message == 0 {
		return maxSmall
	}
	return min(l.Message, maxSmall)
}

// A connection beyond a limit is read up to its first packet, since it may be a
// cancel request, which must get through where clients are too many. So many of
// them may be there at a time, each for so long; any more are refused unread.
const (
	maxSpares    = 64
	spareTimeout = 2 * time.Second
)

// census counts connections by what limits them. What is counted before the
// authentication costs a lock and a map entry.
type census struct {
	mu        sync.Mutex
	limits    Limits
	sessions  int
	startups  int
	spares    int
	byUser    map[string]int
	byAddress map[netip.Addr]int
}

func newCensus(l Limits) *census {
	c := &census{byUser: make(map[string]int), byAddress: make(map[netip.Addr]int)}
	c.limit(l)
	return c
}

// limit replaces the limits. Whoever is there stays, whatever they are.
func (c *census) limit(l Limits) {
	if l.Startups == 0 {
		l.Startups = l.Clients
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits = l
}

// seat is what one connection takes of the limits. One goroutine at a time.
type seat struct {
	c       *census
	address netip.Addr // the zero address is not limited
	user    string
	session bool
	// refusal is set on one that may only cancel: what it is told otherwise.
	refusal *pgerr.Error
}

// arrive counts a connection that has been accepted. The seat must be left. It
// is nil where the connection is to be refused unread.
func (c *census) arrive(address netip.Addr) (*seat, *pgerr.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &seat{c: c, address: address}
	switch {
	case c.limits.PerAddress > 0 && address.IsValid() && c.byAddress[address] >= c.limits.PerAddress:
		p.refusal = tooMany("too many connections from this address", "limits.per_address", c.limits.PerAddress)
	case c.startups >= c.limits.Startups:
		p.refusal = tooMany("too many connections have not been authenticated yet", "limits.startup_clients", c.limits.Startups)
	case c.sessions >= c.limits.Clients:
		p.refusal = c.full()
	}
	switch {
	case p.refusal == nil:
		c.startups++
	case c.spares >= maxSpares:
		return nil, p.refusal
	default:
		c.spares++
	}
	if address.IsValid() {
		c.byAddress[address]++
	}
	return p, nil
}

// enter makes a session of a connection whose user has been authenticated.
func (p *seat) enter(user string) error {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.sessions >= c.limits.Clients:
		return c.full()
	case c.limits.PerUser > 0 && c.byUser[user] >= c.limits.PerUser:
		e := tooMany("", "limits.per_user", c.limits.PerUser)
		e.Message = "too many connections for role \"" + user + "\""
		return e
	}
	c.startups--
	c.sessions++
	c.byUser[user]++
	p.session, p.user = true, user
	return nil
}

// leave gives the seat back.
func (p *seat) leave() {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case p.session:
		c.sessions--
		decrement(c.byUser, p.user)
	case p.refusal != nil:
		c.spares--
	default:
		c.startups--
	}
	if p.address.IsValid() {
		decrement(c.byAddress, p.address)
	}
}

func decrement[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] == 0 {
		delete(m, k)
	}
}

func (c *census) full() *pgerr.Error {
	return tooMany("sorry, too many clients already", "limits.clients", c.limits.Clients)
}

func tooMany(message, limit string, n int) *pgerr.Error {
	return pgerr.Fatal(pgerr.TooManyConnections, "%s", message).
		WithHint("pgshunt is configured for at most %d, see %s.", n, limit).In("startup")
}

// timeout bounds the startup of the seat's connection.
func (p *seat) timeout(usual time.Duration) time.Duration {
	if p.refusal != nil {
		return min(usual, spareTimeout)
	}
	return usual
}

func addressOf(c *wire.Conn) netip.Addr {
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// turnAway refuses a new connection unread. It has room for what is said, so
// that the write does not wait.
func turnAway(c *wire.Conn, e *pgerr.Error) {
	_ = c.SetWriteDeadline(time.Now().Add(lastWordsTimeout))
	_, _ = c.Write(appendError(nil, e))
	c.End()
}

// oversized refuses a message by its length, of which no more than a piece has
// been received.
func (s *session) oversized(m *wire.Message) *pgerr.Error {
	limit, size := s.by.limits.Message, len(m.Data)+m.Rest
	if !m.First || limit == 0 || size <= limit {
		return nil
	}
	return pgerr.Fatal(pgerr.ProgramLimit, "message of %d bytes is too large", size).
		WithHint("pgshunt is configured for at most %d bytes, see limits.message.", limit).In("oversized")
}
