// Package auth knows what clients must know: their passwords, or rather what is
// stored of them, and the keys that their logins leave behind.
//
//	store := auth.NewStore(users, query, pepper)
//	found, err := store.Lookup(ctx, user)   // never says whether the user exists
//	key, ok := found.Password(user, password)
//
// A Store answers for users of the configuration first, then asks the primary
// (Query), whose answers it keeps for a short time. For a user who does not exist
// it makes up a secret that nothing matches, always the same for the same name:
// whoever goes on with it does the same work, and fails in the end.
//
// Keys holds the client keys of users who have proven themselves by SCRAM. With
// one, pgshunt logs in to a server as that user although no password is stored
// anywhere (UseKey).
//
// The messages themselves are exchanged by package proxy. Nothing here logs or
// prints a secret, and all comparisons take constant time.
package auth
