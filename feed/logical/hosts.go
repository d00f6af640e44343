package logical

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"pgshunt/feed"
	"pgshunt/internal/pghosts"
)

// hostPatience bounds the look at one of several hosts: most of them are standbys, and one that
// does not answer is nobody's primary.
const hostPatience = 3 * time.Second

// checkHosts looks at each server that primary.url names where it names several. The subscription
// and pgshunt go each by itself to the first that takes writes: two that do so, as when a primary
// comes back after a failover, are two different truths. One server may well have two names.
func (s *session) checkHosts(ctx context.Context, p *problems) {
	login := s.run.Primary.Login()
	hosts := pghosts.Of(login)
	if len(hosts) < 2 {
		return
	}
	type look struct {
		timeline int64
		began    time.Time // no two servers were started in one microsecond
	}
	looked := make([]look, len(hosts))
	var looks sync.WaitGroup
	for i, host := range hosts {
		looks.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, hostPatience)
			defer cancel()
			conn, err := feed.NewServer(host, pghosts.At(login, host)).Connect(ctx)
			if err != nil {
				return
			}
			defer conn.Close(context.WithoutCancel(ctx))
			if err := conn.QueryRow(ctx, timelineQuery+", pg_postmaster_start_time()").Scan(&looked[i].timeline, &looked[i].began); err != nil {
				looked[i].timeline = 0
			}
		})
	}
	looks.Wait()
	var writable []string
	for i, host := range hosts {
		if l := looked[i]; l.timeline != 0 && !slices.Contains(looked[:i], l) {
			writable = append(writable, fmt.Sprintf("%s (timeline %d)", host, l.timeline))
		}
	}
	if len(writable) > 1 {
		p.block("hosts", strings.Join(writable, " and ")+" take writes, and only one may: the replica follows either, as it comes", "",
			"stop the one that was the primary before the failover, which is on the lower timeline, or make it a standby again (pg_rewind); then pgshunt feed verify --replica "+s.run.Replica.Name+" --repair")
	}
}
