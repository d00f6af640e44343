package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/auth"
	"pgshunt/configs"
	"pgshunt/internal/hba"
	"pgshunt/internal/pghosts"
	"pgshunt/pool"
	"pgshunt/proxy"
	"pgshunt/router/fleet"
)

// identity is who clients are, and as whom pgshunt logs in to servers for them.
type identity struct {
	// known is by the configuration in force; a reload replaces it.
	known atomic.Pointer[known]
	// watch knows which of the primary's hosts is it now; nil where nobody looks.
	watch atomic.Pointer[fleet.Watcher]
}

// known is what one configuration says of users and servers. Immutable.
type known struct {
	cfg     *configs.Config
	clients proxy.Auth
	query   *auth.Query // nil without auth.query
}

// newIdentity builds what auth says.
func newIdentity(cfg *configs.Config, tlsConfig *tls.Config, log *slog.Logger) (*identity, error) {
	id := new(identity)
	k, err := id.newKnown(cfg, tlsConfig, log)
	id.known.Store(k)
	return id, err
}

// newKnown builds what auth says in cfg. The keys that clients' own logins have left stay
// with those for whom they are used.
func (id *identity) newKnown(cfg *configs.Config, tlsConfig *tls.Config, log *slog.Logger) (*known, error) {
	k := &known{cfg: cfg, clients: proxy.Auth{Method: hba.Method(cfg.Auth.Method)}}
	var err error
	if k.clients.Rules, err = cfg.Auth.Rules(); err != nil {
		return nil, fmt.Errorf("auth.hba: %w", err)
	}
	var users []auth.User
	for _, u := range cfg.Auth.Users {
		user := auth.User{Name: u.Name, Password: string(u.Password)}
		switch {
		case u.Verifier != "":
			if user.Secret, err = auth.ParseSecret(string(u.Verifier)); err != nil {
				return nil, fmt.Errorf("auth.users: verifier of %q: %w", u.Name, err)
			}
		case u.Password == "": // listed for its name, as with method cert
			continue
		}
		users = append(users, user)
	}
	before := id.known.Load()
	switch {
	case cfg.Auth.Query == "":
	case before != nil && before.cfg.Auth.Query == cfg.Auth.Query && before.cfg.Primary == cfg.Primary:
		k.query = before.query
	default:
		k.query = auth.NewQuery(auth.QueryConfig{
			SQL: cfg.Auth.Query, Log: log,
			Login: func() (*pgconn.Config, error) { return id.login(configs.ToPrimary, "", "") },
		})
	}
	k.clients.Store = auth.NewStore(users, k.query, seed(tlsConfig))
	switch {
	case !cfg.Auth.Passthrough:
	case before != nil && before.clients.Keys != nil:
		k.clients.Keys = before.clients.Keys
	default:
		k.clients.Keys = auth.NewKeys()
	}
	return k, nil
}

func (id *identity) close() { id.known.Load().close(nil) }

// close ends what k has open and other, which may be nil, does not use.
func (k *known) close(other *known) {
	if k.query != nil && (other == nil || other.query != k.query) {
		k.query.Close()
	}
}

// seed is something that only we know and that outlives a restart: the private
// key of our certificate, hashed; nil without one.
func seed(cfg *tls.Config) []byte {
	if cfg == nil || len(cfg.Certificates) == 0 {
		return nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(cfg.Certificates[0].PrivateKey)
	if err != nil {
		return nil
	}
	sum := sha256.Sum256(der)
	return sum[:]
}

// targets are the servers.
func (id *identity) targets() []*pool.Target {
	out := []*pool.Target{id.target(configs.ToPrimary)}
	for _, r := range id.known.Load().cfg.Replicas {
		out = append(out, id.target(r.Name))
	}
	return out
}

// target is a server, with how to log in to it for a session's user: by a password of the
// configuration, else by the key that the user's own login left.
func (id *identity) target(name string) *pool.Target {
	return &pool.Target{
		Name:    name,
		Awaited: func() bool { return name == configs.ToPrimary && id.watch.Load() != nil },
		Login: func(user, database string) (*pgconn.Config, error) {
			return id.login(name, user, database)
		},
	}
}

// atPrimary has a login to the primary reach the primary and no standby of it.
func (id *identity) atPrimary(cfg *pgconn.Config) {
	if w := id.watch.Load(); w != nil {
		w.AtPrimary(cfg)
	}
	pghosts.AtPrimary(cfg)
}

// login is how to log in to a target, for pgshunt itself where user is "".
func (id *identity) login(target, user, database string) (*pgconn.Config, error) {
	k := id.known.Load()
	cfg, err := k.cfg.Login(target, user, database)
	if err == nil && target == configs.ToPrimary {
		id.atPrimary(cfg)
	}
	if err != nil || user == "" || cfg.Password != "" || k.clients.Keys == nil {
		return cfg, err
	}
	key := k.clients.Keys.Get(user)
	if key == nil {
		return cfg, nil
	}
	auth.UseKey(cfg, key, func() {
		if target == configs.ToPrimary { // the password was changed: the next login of the client shall bring the new key
			k.clients.Keys.Drop(user, key)
			k.clients.Store.Forget(user)
		}
	})
	return cfg, nil
}
