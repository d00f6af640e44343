package dump

import (
	"sync"
	"sync/atomic"
	"time"

	"pgshunt/feed"
)

// progress tells how far a transfer is, twice a second.
type progress struct {
	c       *copying
	began   time.Time
	total   int64
	tables  int
	stop    chan struct{}
	stopped sync.WaitGroup
	ended   sync.Once
	mu      sync.Mutex
	left    map[*table]int // parts that are not yet here
	full    atomic.Int64   // tables that are
}

func newProgress(c *copying, all []part) *progress {
	p := &progress{c: c, began: time.Now(), stop: make(chan struct{}), left: make(map[*table]int)}
	for _, one := range all {
		p.total += one.size
		p.left[one.table]++
	}
	p.tables = len(p.left)
	p.tell(feed.StatusStart, "")
	p.stopped.Go(func() {
		tick := time.NewTicker(time.Second / 2)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.tell(feed.StatusProgress, "")
			case <-p.stop:
				return
			}
		}
	})
	return p
}

func (p *progress) finished(one part) {
	p.mu.Lock()
	p.left[one.table]--
	full := p.left[one.table] == 0
	p.mu.Unlock()
	if full {
		p.full.Add(1)
		p.tell(feed.StatusProgress, one.Plain())
	}
}

const stepRows = "copy the rows"

// tell tells of the whole transfer; table is what it has just finished, or "".
func (p *progress) tell(status feed.Status, table string) {
	e := feed.Event{
		Status: status, Server: p.c.run.Target.Name, Step: stepRows, Table: table,
		TotalBytes: p.total, TablesDone: int(p.full.Load()), TablesTotal: p.tables,
	}
	for _, t := range p.c.tables {
		e.Bytes += t.bytes.Load()
		e.Rows += t.rows.Load()
	}
	if status == feed.StatusDone {
		e.Took = time.Since(p.began)
	}
	p.c.run.Tell(e)
}

func (p *progress) end() {
	p.ended.Do(func() { close(p.stop) })
	p.stopped.Wait()
}

func (p *progress) done() {
	p.end()
	p.tell(feed.StatusDone, "")
}
