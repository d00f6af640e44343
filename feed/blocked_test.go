package feed

import "testing"

// What is missing on this machine is said to be on no server.
func TestWhatBlocksSaysWhereItIs(t *testing.T) {
	b := &Blocked{Replica: "ml1", Problems: []Problem{
		{Blocks: true, What: "pg_dump is missing", Note: "install it"},
		{What: "it is slow"},
		{Server: "primary", Blocks: true, What: "it is a standby", Remedy: "SELECT pg_promote();"},
	}}
	const want = "the feed of ml1 is blocked: pg_dump is missing; install it | primary: it is a standby; SELECT pg_promote()"
	if got := b.Error(); got != want {
		t.Error(got)
	}
}
