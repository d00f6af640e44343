package pool

import (
	"hash/maphash"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Prepared is a statement by text, parameter types and the settings it is
// prepared under, shared by every session that prepares the same. The settings
// count because the server reads constants under them at Parse: a timestamp
// without a zone is another moment in another TimeZone. Immutable, but for renewed.
type Prepared struct {
	// Name is the statement's name on servers; a statement prepared by SQL has none but
	// those that sessions give it.
	Name string
	// Body is what follows the name in a Parse message: the text, a zero byte, the
	// number of parameter types and the types. With SQL it is a PREPARE statement.
	Body string
	SQL  bool
	// Under is the signature of the settings.
	Under string
	// renewed is the moment since which copies made before are of no use.
	renewed atomic.Uint64
}

// Catalog gives statements their names. The same body keeps its name for as long
// as it is among the most recently used; after that it gets a new one, and
// sessions that still hold the old one go on with it. Safe for concurrent use.
//
// It also counts moments, by which a copy on a server is known to be older or
// younger than something else: a client's Parse, a change of the schema.
type Catalog struct {
	last, clock atomic.Uint64
	maxBytes    int
	seed        maphash.Seed

	mu     sync.Mutex
	byHash *simplelru.LRU[uint64, *Prepared] // guarded by mu; the statements themselves decide
	bytes  int                               // guarded by mu; Prepared.Size of them
}

// NewCatalog returns a Catalog that remembers up to entries statements, whose
// texts have up to maxBytes together.
func NewCatalog(entries, maxBytes int) *Catalog {
	c := &Catalog{maxBytes: maxBytes, seed: maphash.MakeSeed()}
	byHash, err := simplelru.NewLRU(max(entries, 1), func(_ uint64, p *Prepared) { c.bytes -= p.Size() })
	if err != nil {
		panic("BUG: " + err.Error())
	}
	c.byHash = byHash
	return c
}

// Prepared returns the statement of a Parse body, which is copied when it is new,
// under settings with a signature (Settings.Signature).
func (c *Catalog) Prepared(body []byte, under string) *Prepared { return c.get(body, under, false) }

// SameBody tells whether p, which may be nil, is what Prepared would return, or return a copy
// of, under the settings that p is prepared under.
func (p *Prepared) SameBody(body []byte) bool { return p != nil && p.Body == string(body) && !p.SQL }

// PreparedBySQL returns the statement that a PREPARE statement makes.
func (c *Catalog) PreparedBySQL(sql, under string) *Prepared { return c.get([]byte(sql), under, true) }

// Again returns p under other settings.
func (c *Catalog) Again(p *Prepared, under string) *Prepared {
	return c.get([]byte(p.Body), under, p.SQL)
}

func (c *Catalog) get(body []byte, under string, bySQL bool) *Prepared {
	const odd = 0x9e3779b97f4a7c15
	key := maphash.Bytes(c.seed, body)
	if under != "" {
		key += maphash.String(c.seed, under) * odd
	}
	if bySQL {
		key = ^key
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p, ok := c.byHash.Get(key); ok && p.Body == string(body) && p.Under == under && p.SQL == bySQL {
		return p
	}
	p := &Prepared{Body: string(body), Under: under, SQL: bySQL}
	if !p.SQL {
		p.Name = "pgshunt_" + strconv.FormatUint(c.last.Add(1), 36)
	}
	if p.Size() > maxCatalogBody {
		return p
	}
	c.byHash.Remove(key) // of another with the same hash
	c.bytes += p.Size()
	c.byHash.Add(key, p)
	for c.bytes > c.maxBytes && c.byHash.Len() > 1 {
		c.byHash.RemoveOldest()
	}
	return p
}

// maxCatalogBody keeps huge texts from living in the catalog; a session that
// prepares one still holds it for itself.
const maxCatalogBody = 64 << 10

// Size returns how many statements the catalog remembers, and the bytes of their texts.
func (c *Catalog) Size() (entries, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byHash.Len(), c.bytes
}

// Now is the present moment: not before any that Tick has returned.
func (c *Catalog) Now() uint64 { return c.clock.Load() }

// Tick begins a new moment and returns it.
func (c *Catalog) Tick() uint64 { return c.clock.Add(1) }

// Renew makes every copy of p that is on a server now out of date.
func (c *Catalog) Renew(p *Prepared) { p.renewed.Store(c.Tick()) }

// Renewed is the moment of the last Renew of p, 0 without one.
func (p *Prepared) Renewed() uint64 { return p.renewed.Load() }

// Size is what p counts for where statements are bounded in bytes.
func (p *Prepared) Size() int { return len(p.Body) + len(p.Under) + preparedOverhead }

// preparedOverhead stands for what a statement takes beside its text.
const preparedOverhead = 128
