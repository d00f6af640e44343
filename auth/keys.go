package auth

import (
	lru "github.com/hashicorp/golang-lru/v2"

	"pgshunt/internal/scram"
)

// Keys holds the client key of each user who has logged in, the latest one of
// each, in memory only. Safe for concurrent use.
type Keys struct {
	byUser *lru.Cache[string, *scram.Key]
}

// keysSize bounds the users whose keys are kept.
const keysSize = 10000

// NewKeys returns an empty Keys.
func NewKeys() *Keys {
	c, err := lru.New[string, *scram.Key](keysSize)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return &Keys{byUser: c}
}

// Put remembers the key of a user who has just proven to have it.
func (k *Keys) Put(user string, key *scram.Key) { k.byUser.Add(user, key) }

// Get returns a user's key, or nil.
func (k *Keys) Get(user string) *scram.Key {
	key, _ := k.byUser.Get(user)
	return key
}

// Drop forgets a key that turned out to be no good; a newer one stays.
func (k *Keys) Drop(user string, key *scram.Key) {
	if now, ok := k.byUser.Peek(user); ok && now == key {
		k.byUser.Remove(user)
	}
}
