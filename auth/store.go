package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync/atomic"

	"pgshunt/internal/scram"
)

// User is one user of the configuration: with a password in the clear, or with
// what pg_authid has of it.
type User struct {
	Name     string
	Password string
	Secret   *Secret // nil where there is a password
}

// Store finds the secrets of users. Safe for concurrent use.
type Store struct {
	users map[string]*Secret
	query *Query // nil where only the configuration's users exist
	// pepper makes up salts: for users who do not exist, and for those whose
	// password is known in the clear.
	pepper [sha256.Size]byte
	// manner is how secrets look here, so that made up ones look alike.
	manner atomic.Pointer[manner]
}

type manner struct {
	iterations int
	md5        bool
}

// NewStore returns a Store. Seed is something that nobody outside can guess and
// that outlives this process, such as a private key, so that salts stay the same
// over restarts and between instances; nil takes a random one, with which a user
// who does not exist can be told by a salt that changes with a restart.
func NewStore(users []User, query *Query, seed []byte) *Store {
	s := &Store{users: make(map[string]*Secret), query: query}
	if seed == nil {
		seed = make([]byte, sha256.Size)
		_, _ = rand.Read(seed) // never fails, see crypto/rand
	}
	m := hmac.New(sha256.New, seed)
	m.Write([]byte("pgshunt salts"))
	m.Sum(s.pepper[:0])
	looks := manner{iterations: scram.Iterations}
	for i, u := range users {
		secret := u.Secret
		if secret == nil {
			sum := s.made(u.Name)
			secret = clear(u.Name, u.Password, sum[:scram.SaltSize])
		}
		s.users[u.Name] = secret
		looks.md5 = looks.md5 || secret.md5 != ""
		if i == 0 && secret.scram != nil {
			looks.iterations = secret.scram.Iterations()
		}
	}
	s.manner.Store(&looks)
	return s
}

// Lookup finds what a user's login is checked against. The error says that the
// primary could not be asked; it is never about the user.
func (s *Store) Lookup(ctx context.Context, user string) (Found, error) {
	return s.find(ctx, user, Found{}, false)
}

// Refresh asks again after a login has failed: the password may have been changed
// since. It reports false where there is nothing new to check against.
func (s *Store) Refresh(ctx context.Context, user string, old Found) (Found, bool, error) {
	if !old.cached {
		return old, false, nil
	}
	s.query.Forget(user)
	found, err := s.find(ctx, user, old, true)
	if err != nil || found.known != old.known {
		return found, true, err
	}
	return found, found.known && !found.secret.equal(old.secret), nil
}

// Forget drops what is remembered of a user, so that the next login asks anew.
func (s *Store) Forget(user string) {
	if s.query != nil {
		s.query.Forget(user)
	}
}

func (s *Store) find(ctx context.Context, user string, old Found, again bool) (Found, error) {
	f := Found{secret: s.users[user]}
	if f.secret == nil && s.query != nil {
		var err error
		if f.secret, f.cached, err = s.query.lookup(ctx, user); err != nil {
			return Found{}, err
		}
	}
	f.known = f.secret != nil
	looks := s.manner.Load()
	if f.known && s.users[user] == nil { // remember how secrets of the primary look
		now := manner{iterations: looks.iterations, md5: f.secret.md5 != ""}
		if f.secret.scram != nil {
			now.iterations = f.secret.scram.Iterations()
		}
		if now != *looks {
			s.manner.Store(&now)
		}
	}
	f.mock = scram.Mock(s.made(user), looks.iterations)
	if again {
		f.mock = old.mock // a second check costs what the first did
	}
	f.asMD5 = looks.md5
	if f.known {
		f.asMD5 = f.secret.md5 != ""
	}
	return f, nil
}

// made is a value that belongs to a name and that nobody can guess.
func (s *Store) made(user string) (sum [sha256.Size]byte) {
	m := hmac.New(sha256.New, s.pepper[:])
	m.Write([]byte(user))
	m.Sum(sum[:0])
	return sum
}
