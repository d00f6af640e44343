package proxy

import (
	"context"
	"slices"

	"pgshunt/internal/wire"
	"pgshunt/pool"
)

// finish lets go of everything the session holds. A client that vanishes leaves
// no query, lock or transaction behind.
func (s *session) finish() {
	s.quitLine()
	if s.ordering != nil {
		s.followed(false)
	}
	if s.walsender != nil {
		s.walsender.Close()
	}
	s.mu.Lock()
	s.awaitCancels()
	held := []*pool.Backend{s.primary, s.replica}
	open := [2]bool{s.phase.openPrimary, s.phase.openReplica}
	busy := !s.quiet() || s.passing && s.in.MidMessage() || s.end != nil
	current, status, pinned, kept := s.current, s.status, s.state.pins.text != "", s.keep
	trains := busy && (s.trained || s.inflight.trains())
	var goesOn *unattended
	if trains && current != nil {
		goesOn = s.unattend(current)
	}
	if goesOn != nil {
		i := slices.Index(held, current)
		held[i], open[i] = nil, false
	}
	s.primary, s.replica, s.current = nil, nil, nil
	s.changed.Broadcast() // a cancel request may wait for the end of a backend
	for i, b := range held {
		switch {
		case b == nil:
		case open[i] || b == current && busy:
			if !b.Attach(abandoned{}) {
				held[i] = nil // it has gone by itself
			}
		case i == 0:
			b.Settings = s.state.bounded(s.state.label())
		}
	}
	s.mu.Unlock()
	if goesOn != nil {
		goesOn.sync(s.turn)
	}
	var busyOnes []*pool.Backend
	for i, b := range held {
		state := pool.Clean
		switch {
		case b == nil:
			continue
		case open[i] || b == current && busy:
			busyOnes = append(busyOnes, b)
			continue
		case i == 0 && status != 'I':
			state = pool.InTransaction
		case i == 1 && kept.block:
			state = kept.end(b)
		case i == 0 && pinned, i == 1 && kept.pin != "":
			state = pool.Dirty
		}
		b.Writer.Discard()
		s.srv.pools.Release(b, state)
	}
	for _, b := range busyOnes {
		s.abandon(b, trains && b == current)
		b.Writer.Discard()
		s.srv.pools.Release(b, pool.Broken)
	}
}

// abandon stops what b is doing for a client that will not hear of it.
func (s *session) abandon(b *pool.Backend, training bool) {
	s.turn.Block()
	ctx, cancel := context.WithTimeout(context.Background(), cancelTimeout)
	defer cancel()
	err := stopBackend(ctx, b, training)
	switch {
	case err != nil && training:
		s.log.Warn("cancel failed", "target", b.Key.Target, "backend", b.PID, "error", err)
	case err != nil:
		s.log.Debug("cancel of an abandoned statement failed", "target", b.Key.Target, "error", err)
	case training:
		s.log.Info("training ended with its client", "target", b.Key.Target, "backend", b.PID)
	}
}

// abandoned owns a backend whose session has gone, and drops what comes from it.
type abandoned struct{}

func (abandoned) Receive(b *pool.Backend) error {
	var m wire.Message
	for {
		if ok, err := b.Reader.Next(&m); err != nil || !ok {
			return err
		}
	}
}

func (abandoned) Lost(*pool.Backend, error) {}
