package pool

import (
	"bytes"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5/pgproto3"

	"pgshunt/internal/wire"
)

var errReset = errors.New("the server refused to reset the session")

// What makes a session as it was after its login. DISCARD ALL of older minor versions (13.16 does, 15.18 does
// not) leaves no role, also where ALTER ROLE .. SET role gave it one when it logged in.
const discard, resetRole = "DISCARD ALL", "RESET ROLE"

// reset runs statements that must all succeed and end outside a transaction;
// then b is as new and goes back to its pool. The output goes to the pool, which
// counts the answers.
func (b *Backend) reset(statements ...string) { b.finish(true, statements...) }

// finish is reset where asNew is set; else b keeps what it has prepared and set.
func (b *Backend) finish(asNew bool, statements ...string) {
	b.mu.Lock()
	if b.lost {
		b.mu.Unlock()
		return
	}
	b.owner, b.resets, b.failed = b.pool, len(statements)+1, false
	b.mu.Unlock()
	if asNew {
		b.Settings, b.Stale = nil, false
		b.ForgetAll()
		b.AllGone() // or the reset fails, and the backend goes
	}
	b.Unnamed = nil
	var out []byte
	for _, sql := range statements {
		out, _ = (&pgproto3.Query{String: sql}).Encode(out) // fails only above 1 GB
	}
	b.Writer.Discard()
	b.pool.parent.work.Go(func() { b.sendReset(out) }) // it may have to wait, which the caller may not
}

func (b *Backend) sendReset(out []byte) {
	if b.Writer.Append(nil, out) != nil || b.Writer.Flush(nil) != nil {
		b.Close()
		return
	}
	// The answers may all be here by now, but until this moment the Writer was ours.
	if b.pool.resetStep(b) != nil {
		b.Close()
	}
}

// Receive takes the output of a backend that belongs to no session: parameters
// are remembered, notices are of no interest, and anything that is neither that
// nor the answer to a reset ends the backend.
func (p *Pool) Receive(b *Backend) error {
	for {
		var m wire.Message
		ok, err := b.Reader.Next(&m)
		if err != nil || !ok {
			return err
		}
		if !m.Whole() {
			return fmt.Errorf("message %q of %d bytes from an idle server", m.Type, len(m.Data)+m.Rest)
		}
		if err := p.receive(b, m.Type, m.Body()); err != nil {
			return err
		}
	}
}

func (p *Pool) receive(b *Backend, typ byte, body []byte) error {
	b.mu.Lock()
	resetting := b.resets > 0
	b.mu.Unlock()
	switch {
	case typ == 'S':
		name, value, ok := ParameterStatus(body)
		if !ok {
			return errors.New("malformed ParameterStatus")
		}
		b.SetParam(name, value)
	case typ == 'N', typ == 'A', typ == 'C' && resetting:
	case typ == 'E' && resetting:
		b.mu.Lock()
		b.failed = true
		b.mu.Unlock()
	case typ == 'E':
		return serverError(body)
	case typ == 'Z' && resetting && len(body) == 1:
		b.mu.Lock()
		// ROLLBACK goes first, so that all of them end outside a transaction.
		b.failed = b.failed || body[0] != 'I'
		b.mu.Unlock()
		return p.resetStep(b)
	default:
		return fmt.Errorf("unexpected message %q from an idle server", typ)
	}
	return nil
}

// resetStep counts one ReadyForQuery of a reset, or the end of writing it; after
// the last one b is idle.
func (p *Pool) resetStep(b *Backend) error {
	b.mu.Lock()
	b.resets--
	left, failed := b.resets, b.failed
	b.mu.Unlock()
	if left > 0 {
		return nil
	}
	if failed || left < 0 {
		return errReset
	}
	p.put(b)
	return nil
}

// Lost is called when a backend that belongs to no session has ended.
func (p *Pool) Lost(b *Backend, err error) {
	p.parent.cfg.Log.Debug("idle connection ended", "target", b.Key.Target, "backend", b.PID, "error", err)
	if !errors.Is(err, net.ErrClosed) { // by the server
		p.parent.trouble(b.Key.Target)
	}
}

// ParameterStatus reads the body of such a message.
func ParameterStatus(body []byte) (name, value string, ok bool) {
	parts := bytes.Split(body, []byte{0})
	if len(parts) != 3 || len(parts[2]) != 0 {
		return "", "", false
	}
	return string(parts[0]), string(parts[1]), true
}

func serverError(body []byte) error {
	var e pgproto3.ErrorResponse
	if err := e.Decode(body); err != nil {
		return err
	}
	return fmt.Errorf("%s: %s (SQLSTATE %s)", e.Severity, e.Message, e.Code)
}
