package cluster

import (
	"context"
	"os"
	"regexp"
	"strconv"
)

// Major is the major version, as 15; 0 where Version has no number.
func (b *Binaries) Major() int {
	n, _ := strconv.Atoi(regexp.MustCompile(`\d+`).FindString(b.Version))
	return n
}

// PreferPrograms puts the newest of the installations that the environment chooses first
// on PATH of this process, so that it and its children run client programs that every
// server here takes: an old pg_dump refuses a newer server. It does nothing where
// the environment chooses none. Call it once, before anything else looks at PATH.
func PreferPrograms(ctx context.Context) error {
	var newest *Binaries
	for _, side := range []Side{PrimarySide, ReplicaSide} {
		if _, dir := side.override(); dir == "" {
			continue
		}
		b, err := Find(ctx, side)
		if err != nil {
			return err
		}
		if newest == nil || b.Major() > newest.Major() {
			newest = b
		}
	}
	if newest == nil {
		return nil
	}
	return os.Setenv("PATH", newest.Dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}
