package dump

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"pgshunt/internal/pgtest"
)

func TestConnectionsShareTheMemoryForSorts(t *testing.T) {
	for _, c := range []struct {
		sizes []int64
		jobs  int
		want  []int64
	}{
		{[]int64{1000, 10, 0}, 1, []int64{500, 64, 64}},
		{[]int64{1000, 0, 0}, 2, []int64{500, 64, 64}},
		{[]int64{300, 300, 300}, 2, []int64{250, 250, 250}},
		{[]int64{400, 100, 100}, 2, []int64{400, 100, 100}},
		{[]int64{0, 0}, 4, []int64{64, 64}},
		{nil, 2, []int64{}},
	} {
		if diff := cmp.Diff(c.want, shares(c.sizes, c.jobs, 64, 500)); diff != "" {
			t.Errorf("%v: %s", c.sizes, diff)
		}
	}
}

// The shared buffers tell how large the machine is.
func TestASmallServerGivesLittleMemoryForSorts(t *testing.T) {
	for buffers, want := range map[string]int64{"16MB": 64 << 10, "128MB": 512 << 10} {
		server := pgtest.Replica(t, pgtest.Options{Settings: map[string]string{"shared_buffers": buffers}})
		var each, all int64
		if err := server.Super(t, "postgres").QueryRow(t.Context(), memory).Scan(&each, &all); err != nil || all != want {
			t.Errorf("%d kB with shared_buffers %s, want %d; %v", all, buffers, want, err)
		}
	}
}
