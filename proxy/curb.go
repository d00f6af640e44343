package proxy

import (
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/pool"
	"pgshunt/router"
)

// A rule of the policy may bound how long a statement runs (Decision.Timeout). The server
// sees to it, by its own statement_timeout, which pgshunt changes for the statement and
// back again before the next one that has another bound or none. The session's own is
// never raised by that. The client neither sees the change nor loses by it what it has
// set itself.
//
// On a replica the bound is one more of the settings that a backend is labelled with. On
// the primary it is set for the session where that is possible, and labels the backend when
// that is released; in a transaction block, or a batch, it is set for the transaction, so
// that it ends with that. curb is what the primary's backend has; guarded by link.mu.
//
// The same takes the time that a statement has stood in line for a backend off the session's
// own statement_timeout, which on a server alone would have run meanwhile. To set it
// is one more statement before and after, so a wait that hardly counts is not taken off.
type curb struct {
	// session and block are the bounds in force, 0 for the session's own statement_timeout;
	// block counts where inBlock is set.
	session, block time.Duration
	inBlock        bool
	// unsure is set where the server has not taken the last change, as when the bound itself was
	// too short for it.
	unsure bool
}

func (c *curb) now() time.Duration {
	if c.inBlock {
		return c.block
	}
	return c.session
}

// curb bounds the statements that the session sends to the primary from now on, or 0. The
// primary is current.
func (s *session) curb(most time.Duration) error {
	if most == 0 && !s.curbed && s.waited == 0 { // as mostly
		return nil
	}
	return s.curbBy(most)
}

// curbBy is curb where there is something to do about it, or may be.
func (s *session) curbBy(most time.Duration) error {
	if s.waited > 0 {
		most = s.remaining(most)
	}
	if most == 0 && !s.curbed {
		return nil
	}
	if err := s.settle(); err != nil || s.phaseSkipping() {
		return err
	}
	s.mu.Lock()
	s.turnTo(s.primary)
	t := &s.state
	own, known := ownTimeout(t.local)
	if known && own > 0 && own <= most {
		most = 0
	}
	open, block := s.phase.openPrimary, s.status != 'I' || s.phase.openPrimary
	s.curbed = most > 0 || t.curb.session > 0 || t.curb.inBlock
	unsure := t.curb.unsure
	if t.curb.now() == most && !unsure || s.status == 'E' { // a failed block runs nothing, and takes no settings
		s.mu.Unlock()
		return nil
	}
	sql := timeoutSQL(t.local, most, block)
	if block {
		t.curb.inBlock, t.curb.block = true, most
	} else {
		t.curb.session, t.curb.unsure = most, false
		s.curbed = true // until the server has taken it
	}
	s.mu.Unlock()
	if open {
		return s.within(sql)
	}
	s.setUnnamed(nil) // a simple query drops it
	s.expect(&reply{kind: 'Q', action: mute, seldom: &seldom{proof: &proof{marks: -1}, curbs: !block}})
	return s.sendMessage(&pgproto3.Query{String: sql})
}

// curbPortal bounds the portal that is about to be executed: others may have been bound since.
func (s *session) curbPortal(p *portal) error {
	switch {
	case !p.onReplica:
		return s.curb(p.timeout)
	case p.timeout != s.curbedThere && s.to != nil:
		return s.curbHere(s.to, p.timeout)
	}
	return nil
}

// hardly is which part of statement_timeout a wait may take before it counts.
const hardly = 16

// remaining is what is left of a rule's bound, or the session's own, to a statement that has
// waited for its backend. It is most, and 0 for no bound, where the wait does not count.
func (s *session) remaining(most time.Duration) time.Duration {
	allowed := s.statementTimeout(router.Decision{Timeout: most})
	if allowed == 0 || s.waited < allowed/hardly {
		return most
	}
	return max(allowed-s.waited, time.Millisecond)
}

// curbHere is curb for the replica that the session is on. Between batches its label says
// what it has, and in one the bound is set for the batch.
func (s *session) curbHere(b *pool.Backend, most time.Duration) error {
	if s.waited > 0 {
		most = s.remaining(most)
	}
	s.mu.Lock()
	want, open := s.there(most), s.phase.openReplica
	changed := s.curbedThere != most
	sql := ""
	if open && changed {
		sql = timeoutSQL(s.state.local, most, true)
	}
	s.curbedThere = most
	s.mu.Unlock()
	switch {
	case !open && b.Settings != want:
		return s.replay(b, want)
	case sql != "":
		return s.within(sql)
	}
	return nil
}

// there is what a backend of a replica gets for a statement with a bound: the session's
// settings and that. The caller holds mu.
func (s *session) there(most time.Duration) *pool.Settings {
	own := s.state.local
	if all := s.abroad(own); most == 0 || s.boundOf == own && s.boundBy == most {
		if most > 0 {
			return s.boundIs
		}
		return all
	}
	is := s.abroad(own)
	if set, known := ownTimeout(own); !known || set == 0 || set > most {
		is = is.With(timeoutSetting(own, most))
	}
	s.boundOf, s.boundBy, s.boundIs = own, most, is
	return is
}

// bounded is what label says of a primary's backend that is under a bound. The caller holds mu.
func (t *state) bounded(label *pool.Settings) *pool.Settings {
	if most := t.curb.session; most > 0 {
		return label.With(timeoutSetting(t.local, most))
	}
	return label
}

func timeoutSetting(own *pool.Settings, most time.Duration) pool.Setting {
	return pool.Setting{Name: timeoutName, SQL: timeoutSQL(own, most, false), Value: milli(most)}
}

const timeoutName = "statement_timeout"

// ownTimeout is what the session itself has set; known where it has.
func ownTimeout(own *pool.Settings) (most time.Duration, known bool) {
	set, ok := own.Get(timeoutName)
	if !ok {
		return 0, false
	}
	return milliseconds(set.Value)
}

func milli(d time.Duration) string {
	return strconv.FormatInt(max(d.Milliseconds(), 1), 10)
}

// timeoutSQL is the statement that sets a bound, or where that is 0 the session's own
// value, for the transaction or the session. What a login has without the session's
// doing only the server knows.
func timeoutSQL(own *pool.Settings, most time.Duration, local bool) string {
	end := ", " + strconv.FormatBool(local) + ")"
	set, known := own.Get(timeoutName)
	switch {
	case known && most > 0:
		return "SELECT pg_catalog.set_config('statement_timeout', '" + milli(most) + "'" + end
	case known:
		return "SELECT pg_catalog.set_config('statement_timeout', " + quoteLiteral(set.Value) + end
	}
	value := "reset_val"
	if most > 0 {
		value = "CASE WHEN reset_val::pg_catalog.int4 OPERATOR(pg_catalog.>) 0 AND reset_val::pg_catalog.int4 OPERATOR(pg_catalog.<) " +
			milli(most) + " THEN reset_val ELSE '" + milli(most) + "' END"
	}
	return "SELECT pg_catalog.set_config('statement_timeout', " + value + end +
		" FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'statement_timeout'"
}

// within runs a statement of ours in the batch at hand. If it fails, the batch does.
func (s *session) within(sql string) error {
	const name = "pgshunt_within"
	for _, step := range [...]struct {
		kind byte
		m    pgproto3.FrontendMessage
	}{
		{'C', closeStatement(name)},
		{'P', &pgproto3.Parse{Name: name, Query: sql}},
		{'B', &pgproto3.Bind{DestinationPortal: name, PreparedStatement: name}},
		{'E', &pgproto3.Execute{Portal: name}},
		{'C', &pgproto3.Close{ObjectType: 'P', Name: name}},
		{'C', closeStatement(name)},
	} {
		if !s.expect(&reply{kind: step.kind, action: skip}) {
			return nil
		}
		if err := s.sendMessage(step.m); err != nil {
			return err
		}
	}
	return nil
}
