package main

import (
	"context"
	"log/slog"
	"sync"
)

// demoDecision is where the proxy sent a statement, as its debug log says.
type demoDecision struct{ role, target, rule, reason string }

// demoDecisions is a log handler that keeps the proxy's decisions, one for each
// statement, until they are taken or followed.
type demoDecisions struct {
	mu    sync.Mutex
	kept  []demoDecision
	shown func(demoDecision)
}

// take returns the decisions made since the last call.
func (l *demoDecisions) take() []demoDecision {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := l.kept
	l.kept = nil
	return kept
}

// follow has show called for each decision from now on, instead of keeping them;
// nil drops them.
func (l *demoDecisions) follow(show func(demoDecision)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = nil
	if show == nil {
		show = func(demoDecision) {}
	}
	l.shown = show
}

// Enabled is part of slog.Handler: decisions are logged at debug level.
func (l *demoDecisions) Enabled(context.Context, slog.Level) bool { return true }

// Handle is part of slog.Handler.
func (l *demoDecisions) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "statement routed" {
		return nil
	}
	var d demoDecision
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "role":
			d.role = a.Value.String()
		case "target":
			d.target = a.Value.String()
		case "rule":
			d.rule = a.Value.String()
		case "reason":
			d.reason = a.Value.String()
		}
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown != nil {
		l.shown(d)
		return nil
	}
	l.kept = append(l.kept, d)
	return nil
}

// WithAttrs is part of slog.Handler; what it adds is about the session.
func (l *demoDecisions) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup is part of slog.Handler.
func (l *demoDecisions) WithGroup(string) slog.Handler { return l }
