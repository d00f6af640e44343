package dump

import (
	"context"
	"slices"
	"sync"

	"pgshunt/feed"
)

// A task is a step on the replica that waits for others: the indexes of a table for its
// rows, those of a partitioned table for those of its partitions, a foreign key for both tables.
type task struct {
	step feed.Step
	// size is about how many bytes it works on; sorts tells that it sorts them, kb what it may
	// take for that.
	size, kb int64
	sorts    bool
	waits    int // for its rows and so many tasks
	then     []*task
}

// after has the task wait for others.
func (t *task) after(others ...*task) {
	for _, other := range others {
		other.then = append(other.then, t)
		t.waits++
	}
}

// An agenda hands out tasks, the largest first, as soon as nothing is left that they wait
// for. It is safe for concurrent use.
type agenda struct {
	mu     sync.Mutex
	change sync.Cond
	ready  []*task
	left   int // tasks that are not done
	idle   int // who waits for one
}

func newAgenda(all []*task) *agenda {
	a := &agenda{left: len(all)}
	a.change.L = &a.mu
	for _, t := range all {
		if t.waits == 0 {
			a.ready = append(a.ready, t)
		}
	}
	return a
}

// next is a task that can be begun, and how many others have nothing to do meanwhile; nil at
// the end of all, or of ctx.
func (a *agenda) next(ctx context.Context) (t *task, idle int) {
	stop := context.AfterFunc(ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.change.Broadcast()
	})
	defer stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.ready) == 0 && a.left > 0 && ctx.Err() == nil {
		a.idle++
		a.change.Wait()
		a.idle--
	}
	if len(a.ready) == 0 || ctx.Err() != nil {
		return nil, 0
	}
	largest := 0
	for i, t := range a.ready {
		if t.size > a.ready[largest].size {
			largest = i
		}
	}
	t = a.ready[largest]
	a.ready = slices.Delete(a.ready, largest, largest+1)
	return t, max(0, a.idle-len(a.ready))
}

// done ends a task.
func (a *agenda) done(t *task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left--
	a.release(t.then)
	a.change.Broadcast()
}

// arrived tells that one of what these tasks wait for is there.
func (a *agenda) arrived(tasks ...*task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.release(tasks)
	a.change.Broadcast()
}

func (a *agenda) release(tasks []*task) {
	for _, t := range tasks {
		if t.waits--; t.waits == 0 {
			a.ready = append(a.ready, t)
		}
	}
}
