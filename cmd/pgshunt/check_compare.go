package main

import (
	"fmt"
	"strings"

	"pgshunt/configs"
)

// compare adds what only both servers together show.
func (s *serverCheck) compare(primary *serverCheck) {
	if s.facts == nil || primary.facts == nil {
		return
	}
	here, there := s.facts, primary.facts
	if here.Started.Equal(there.Started) { // to the microsecond
		s.add(levelProblem, "same", "give the address of the PostgresML server", "is the same server as the primary")
		return
	}
	same := true
	differs := func(l level, what, a, b, next string) {
		if a != b {
			same = false
			s.add(l, "differs", next, "%s is %s, the primary's is %s", what, a, b)
		}
	}
	differs(levelProblem, "encoding", here.Encoding, there.Encoding, "create the database again with the primary's ENCODING; some text cannot be converted")
	differs(levelNote, "collation", here.Collate, there.Collate, "expect another order of text and other results of < and > on it")
	differs(levelNote, "character type", here.CType, there.CType, "expect other results of upper, lower and regular expressions")
	differs(levelNote, "time zone", here.TimeZone, there.TimeZone, "set the same TimeZone, or set it in the session; now() and casts of timestamps depend on it")
	differs(levelNote, "major version", fmt.Sprint(here.VersionNum/10000), fmt.Sprint(there.VersionNum/10000), "expect small differences in functions and plans")
	if same {
		s.ok("differs", "encoding %s, collation %s, time zone %s and major version as on the primary", here.Encoding, here.Collate, here.TimeZone)
	}
	s.compareTables(primary)
}

// compareTables looks for the relations that the replica's patterns choose from
// those of the primary.
func (s *serverCheck) compareTables(primary *serverCheck) {
	if len(s.replica.Tables) == 0 || s.replica.Feed == configs.FeedNative {
		return
	}
	present := make(map[string]bool, len(s.tables))
	for _, r := range s.tables {
		present[r.String()] = true
	}
	wanted := 0
	var missing []string
	for _, r := range primary.tables {
		if !r.Table || !s.replica.Tables.MatchQualified(r.Schema, r.Name) {
			continue
		}
		wanted++
		if !present[r.String()] {
			missing = append(missing, r.String())
		}
	}
	for _, pattern := range s.replica.Tables {
		if strings.HasPrefix(pattern, "!") {
			continue
		}
		matches := false
		for _, r := range primary.tables {
			matches = matches || r.Table && configs.Patterns{pattern}.MatchQualified(r.Schema, r.Name)
		}
		if !matches {
			s.add(levelNote, "tables", "correct the pattern under tables, or create the table", "pattern %q matches no table on the primary", pattern)
		}
	}
	if len(missing) == 0 {
		if wanted > 0 {
			s.ok("tables", "has all %d tables of its feed", wanted)
		}
		return
	}
	list := strings.Join(missing[:min(len(missing), 5)], ", ")
	if more := len(missing) - 5; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	s.add(levelProblem, "tables", "create them there and let the feed bring their rows, or exclude them with '!'", "lacks %d of the %d tables of its feed: %s", len(missing), wanted, list)
}
