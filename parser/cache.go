package parser

import (
	"hash/maphash"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Options bounds a Cache. The zero value of each field takes the default.
type Options struct {
	// MaxParse is the length in bytes above which a text is not parsed (64 KiB).
	MaxParse int
	// MaxText is the length in bytes above which a Statement is not kept (8 KiB).
	MaxText int
	// Entries and Bytes bound what is kept (10,000 and 64 MiB). Bytes are counted from
	// the texts and their facts.
	Entries, Bytes int
	// Patterns is the number of places for texts that come again but for their literals
	// (1,024); negative is none.
	Patterns int
}

// DefaultMaxText is the length in bytes above which a Statement is not kept.
const DefaultMaxText = 8 << 10

func (o Options) withDefaults() Options {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&o.MaxParse, DefaultMaxParse)
	set(&o.MaxText, DefaultMaxText)
	set(&o.Entries, 10_000)
	set(&o.Bytes, 64<<20)
	if o.Patterns == 0 {
		o.Patterns = 1 << 10
	}
	return o
}

// Cache keeps Statements by text, and by normal form for texts that differ only in
// literals. It may be used by any number of goroutines.
type Cache struct {
	options  Options
	seed     maphash.Seed
	patterns patterns

	mu      sync.Mutex
	entries *simplelru.LRU[uint64, *entry] // guarded by mu, as is everything below
	bytes   int
	stats   Stats
}

// Stats counts what a Cache did since it was made, but for the texts that come so often that
// they are found without looking here.
type Stats struct {
	Hits, SharedHits, Misses int64
	Entries, Bytes           int
}

// entry is one kept Statement. key is the text, or the normal form, that it was kept
// under: hashes are compared first and keys decide.
type entry struct {
	key  string
	st   *Statement
	size int
}

// New returns an empty Cache.
func New(o Options) *Cache {
	c := &Cache{options: o.withDefaults(), seed: maphash.MakeSeed()}
	c.patterns = newPatterns(c.options.Patterns)
	lru, err := simplelru.NewLRU(c.options.Entries, func(_ uint64, e *entry) { c.bytes -= e.size })
	if err != nil {
		panic("BUG: " + err.Error()) // only for a size that withDefaults excludes
	}
	c.entries = lru
	return c
}

// Statement returns the facts of text, which is only borrowed. The result is never nil;
// a hit does not allocate.
func (c *Cache) Statement(text []byte) *Statement {
	if len(text) > c.options.MaxText {
		c.count(func(s *Stats) { s.Misses++ })
		return parse(string(text), c.options.MaxParse)
	}
	if st := c.patterns.find(text); st != nil {
		return st
	}
	return c.lookUp(maphash.Bytes(c.seed, text), text)
}

// lookUp finds text by itself or by its normal form, and parses it where neither is kept.
func (c *Cache) lookUp(exact uint64, text []byte) *Statement {
	if st := c.get(exact, text, false); st != nil {
		c.patterns.keep(exact, 0, text, st)
		return st
	}
	scratch := scratches.Get().(*[]byte)
	defer scratches.Put(scratch)
	normal, ok := appendNormal((*scratch)[:0], text)
	*scratch = normal
	var shared uint64
	if ok {
		shared = maphash.Bytes(c.seed, normal)
		if st := c.get(shared, normal, true); st != nil {
			c.patterns.keep(exact, shared, text, st)
			return st
		}
	}
	st := parse(string(text), c.options.MaxParse)
	// A text that is its own normal form, as prepared statements mostly are, is found
	// at the first look under its text.
	if ok && shareable(st) && string(normal) != st.Text {
		st.Shared = true
		c.put(shared, string(normal), st)
	} else {
		c.put(exact, st.Text, st)
	}
	c.patterns.keep(exact, shared, text, st)
	return st
}

// Stats returns the counters as they are now.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Entries, s.Bytes = c.entries.Len(), c.bytes
	return s
}

func (c *Cache) count(f func(*Stats)) {
	c.mu.Lock()
	f(&c.stats)
	c.mu.Unlock()
}

// get looks key up. Both kinds of key live in one LRU: a normal form holds bytes that
// no text PostgreSQL accepts does, so one is never taken for the other.
func (c *Cache) get(hash uint64, key []byte, shared bool) *Statement {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries.Get(hash)
	if !ok || e.key != string(key) || e.st.Shared != shared {
		if shared {
			c.stats.Misses++
		}
		return nil
	}
	if shared {
		c.stats.SharedHits++
	} else {
		c.stats.Hits++
	}
	return e.st
}

func (c *Cache) put(hash uint64, key string, st *Statement) {
	e := &entry{key: key, st: st, size: entryBytes + len(key) + footprint(st)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Remove(hash) // so that the replaced entry's bytes are given back
	c.entries.Add(hash, e)
	c.bytes += e.size
	for c.bytes > c.options.Bytes && c.entries.Len() > 1 {
		c.entries.RemoveOldest()
	}
}
