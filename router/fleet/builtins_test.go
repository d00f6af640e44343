package fleet

import (
	"slices"
	"testing"

	"pgshunt/router"
)

// Which functions of PostgreSQL a replica has not is asked where the versions differ.
func TestFunctionsThatAReplicasVersionLacks(t *testing.T) {
	primary, replica := sharedServers(t)
	w := watch(t, pair(primary, replica, router.FeedNone))
	ctx := patient(t)
	sources, err := w.sources(ctx, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		defer s.close()
	}
	from, to := sources[0], sources[1]
	from.builtins = []string{"lower", "of_a_later_version"}
	for version, want := range map[string][]string{from.version: nil, "another": {"of_a_later_version"}} {
		to.version, to.lacking = version, nil
		if err := to.loadLacking(ctx, from); err != nil || !slices.Equal(to.lacking, want) {
			t.Errorf("%s: %q, %v; want %q", version, to.lacking, err, want)
		}
		if got := to.facts(ctx, from, new(bodies)).Lacking; !slices.Equal(got, want) {
			t.Errorf("%s: the router is told %q", version, got)
		}
	}
	from.builtins = nil
	if err := to.loadLacking(ctx, from); err != nil || len(from.builtins) < 2000 {
		t.Errorf("%d functions, %v", len(from.builtins), err)
	}
}
