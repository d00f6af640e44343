package pool

import (
	"strconv"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Prepared is a statement by text, parameter types and the settings it is
// prepared under, shared by every session that prepares the same. The settings
// count because the server reads constants under them at Parse: a timestamp
// without a zone is another moment in another TimeZone. Immutable.
type Prepared struct {
	// Name is the statement's name on servers.
	Name string
	// Body is what follows the name in a Parse message: the text, a zero byte, the
	// number of parameter types and the types.
	Body string
	// Under is the signature of the settings.
	Under string
}

// Catalog gives statements their names. The same body keeps its name for as long
// as it is among the most recently used; after that it gets a new one, and
// sessions that still hold the old one go on with it. Safe for concurrent use.
type Catalog struct {
	byBody *lru.Cache[string, *Prepared]
	last   atomic.Uint64
}

// NewCatalog returns a Catalog that remembers up to size statements.
func NewCatalog(size int) *Catalog {
	c, err := lru.New[string, *Prepared](max(size, 1))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return &Catalog{byBody: c}
}

// Prepared returns the statement of a Parse body, which is copied when it is new,
// under settings with a signature (Settings.Signature).
func (c *Catalog) Prepared(body []byte, under string) *Prepared {
	key := string(body)
	if under != "" {
		key += "\x00" + under
	}
	if p, ok := c.byBody.Get(key); ok {
		return p
	}
	p := &Prepared{Name: "pgshunt_" + strconv.FormatUint(c.last.Add(1), 36), Body: string(body), Under: under}
	if len(key) <= maxCatalogBody {
		c.byBody.Add(key, p)
	}
	return p
}

// maxCatalogBody keeps huge texts from living in the catalog; a session that
// prepares one still holds it for itself.
const maxCatalogBody = 64 << 10

// held is the set of statements that one server process has prepared.
type held = lru.Cache[*Prepared, struct{}]

func newHeld(size int) *held {
	h, err := lru.New[*Prepared, struct{}](max(size, 1))
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return h
}

// Has tells whether the server process has p, and counts that as a use of it.
func (b *Backend) Has(p *Prepared) bool {
	_, ok := b.held.Get(p)
	return ok
}

// Hold records that p is being prepared; the statement that had to go for it, if
// any, must be closed on the server.
func (b *Backend) Hold(p *Prepared) (evicted *Prepared) {
	if b.held.Contains(p) {
		return nil
	}
	if b.held.Len() >= b.maxHeld {
		if old, _, ok := b.held.RemoveOldest(); ok {
			evicted = old
		}
	}
	b.held.Add(p, struct{}{})
	return evicted
}

// Forget records that p is not, or may not be, on the server.
func (b *Backend) Forget(p *Prepared) { b.held.Remove(p) }

// ForgetAll records that the server has no prepared statement any more.
func (b *Backend) ForgetAll() {
	b.held.Purge()
	b.Unnamed = nil
}
