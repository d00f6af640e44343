package proxy

import (
	"strings"
	"sync"
	"sync/atomic"

	"pgshunt/parser"
	"pgshunt/router"
)

// verdicts remembers decisions about statements over rows, which nearly every session that
// sends them would be given again. Only what the router has said is kept, and only
// for views that differ in nothing but what is compared here. Safe for concurrent use.
type verdicts struct {
	table [1 << 10]atomic.Pointer[verdict]

	mu     sync.Mutex
	alike  map[string]*alike // guarded by mu
	serial uint32            // guarded by mu; of the last in alike
}

// alike stands for sessions whose views are the same as long as they are as usual
// (session.asUsual), but for InTransaction.
type alike struct{ serial uint32 }

// verdict is one decision. It is immutable, but for missed.
type verdict struct {
	st            *parser.Statement
	alike         *alike
	plan          *plan
	inTransaction bool
	d             router.Decision
	missed        atomic.Uint32 // how often in a row another was looked for in its place
}

const (
	// maxAlike bounds the kinds of sessions that are remembered.
	maxAlike = 4 << 10
	// missesToGo is how often a verdict must have been in the way before another takes its
	// place: two in turn would otherwise cost an allocation each time.
	missesToGo = 8
)

// sort returns what stands for sessions with a view.
func (vs *verdicts) sort(v *router.View) *alike {
	key := strings.Join(append([]string{v.User, v.Database, v.Application, v.Hint}, v.SearchPath...), "\x00")
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if a := vs.alike[key]; a != nil {
		return a
	}
	if vs.alike == nil || len(vs.alike) >= maxAlike {
		vs.alike = make(map[string]*alike) // sessions keep what they have
	}
	vs.serial++
	a := &alike{vs.serial}
	vs.alike[key] = a
	return a
}

// slot is where the verdict about a statement is, if there is one.
func (vs *verdicts) slot(st *parser.Statement, a *alike, inTransaction bool) *atomic.Pointer[verdict] {
	place := st.Serial<<1 ^ a.serial*0x9e3779b1
	if inTransaction {
		place ^= 1
	}
	return &vs.table[place%uint32(len(vs.table))]
}

// find returns the decision about a statement of a session that is as usual, nil where
// it is not known. The caller must not change it.
func (vs *verdicts) find(st *parser.Statement, a *alike, inTransaction bool, p *plan) *router.Decision {
	v := vs.slot(st, a, inTransaction).Load()
	if v == nil || v.st != st || v.alike != a || v.plan != p || v.inTransaction != inTransaction {
		return nil
	}
	if v.missed.Load() > 0 {
		v.missed.Store(0)
	}
	return &v.d
}

// keep remembers v, which find has not found, unless another is in its place.
func (vs *verdicts) keep(v *verdict) {
	slot := vs.slot(v.st, v.alike, v.inTransaction)
	if old := slot.Load(); old == nil || old.plan != v.plan || old.missed.Add(1) > missesToGo {
		slot.CompareAndSwap(old, v)
	}
}
