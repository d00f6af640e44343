package proxy

import (
	"crypto/tls"
	"time"
)

// admission is by what clients are let in: the part of Config that Readmit replaces. It is
// immutable; a session keeps the one that was in force when it was accepted.
type admission struct {
	auth           Auth
	tls            *tls.Config
	requireTLS     bool
	databases      []string
	limits         Limits
	unquestioned   int // is limits.unquestioned
	startupTimeout time.Duration
}

func (c *Config) admission() *admission {
	return &admission{
		auth: c.Auth, tls: c.TLS, requireTLS: c.RequireTLS, databases: c.Databases,
		limits: c.Limits, unquestioned: c.Limits.unquestioned(), startupTimeout: c.StartupTimeout,
	}
}

// Readmit has clients who come from now on be let in by c's Auth, TLS, RequireTLS, Databases,
// Limits and StartupTimeout. Sessions that are there stay, and keep the bounds of their own
// messages and statements; they count for the limits of all.
func (srv *Server) Readmit(c Config) {
	srv.census.limit(c.Limits)
	srv.admission.Store(c.admission())
}

// PrimaryChanged is PrimaryMoved where the new one need not have the roles and settings of the old: nothing
// that it has said to clients' logins is believed any more.
func (srv *Server) PrimaryChanged() {
	srv.welcomes.Purge()
	srv.PrimaryMoved()
}
