package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"pgshunt/internal/cluster"
)

// pair is the versions of the primary and of the replicas.
type pair struct{ primary, replica int }

func (p pair) String() string {
	if p.primary == p.replica {
		return strconv.Itoa(p.primary)
	}
	return fmt.Sprintf("%d/%d", p.primary, p.replica)
}

// mixed are the pairs that run unless others are asked for: a PostgresML server that
// is behind its primary, as its images are, and one that is ahead.
const mixed = "13/17,17/15,18/15,15/18"

func parsePairs(list string) (pairs []pair, err error) {
	if list == "" {
		return nil, nil
	}
	for text := range strings.SplitSeq(list, ",") {
		primary, replica, _ := strings.Cut(text, "/")
		var p pair
		if p.primary, err = strconv.Atoi(primary); err == nil {
			p.replica, err = strconv.Atoi(replica)
		}
		if err != nil {
			return nil, fmt.Errorf("-pairs: %q is no pair as 13/17", text)
		}
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// runs are the pairs of the same version, oldest first, and those that were asked for. With
// all set, one whose version is missing is an error; without, it is left out.
func runs(found map[int]string, asked []pair, all bool) ([]pair, error) {
	var list []pair
	for _, major := range slices.Sorted(maps.Keys(found)) {
		list = append(list, pair{major, major})
	}
	for _, p := range asked {
		if found[p.primary] != "" && found[p.replica] != "" {
			list = append(list, p)
		} else if all {
			return nil, fmt.Errorf("-pairs: no suite chosen has both versions of %s", p)
		}
	}
	return list, nil
}

// environment is ours with the servers of the pair in it.
func (p pair) environment(found map[int]string) []string {
	return append(os.Environ(),
		cluster.BinEnv+"="+found[p.primary],
		cluster.BinEnv+"_"+string(cluster.PrimarySide)+"="+found[p.primary],
		cluster.BinEnv+"_"+string(cluster.ReplicaSide)+"="+found[p.replica])
}
