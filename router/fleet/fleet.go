package fleet

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgshunt/router"
)

// Server is one configured server.
type Server struct {
	Name    string // "primary" or the replica's name
	Replica bool
	// Training, Inference and Reads are what a replica may be asked for.
	Training, Inference, Reads bool
	Feed                       router.Feed
	Weight                     int
	Zone                       string
	// Users maps clients' users that have another role on a replica to that role.
	Users map[string]string
	// Login says how to log in as pgshunt's own role, to the database there that a
	// client means by that name; "" is the server's own. The caller owns the result,
	// which may name several hosts. It is called from several goroutines.
	Login func(database string) (*pgconn.Config, error)
}

// Config says what to watch.
type Config struct {
	// Servers are the primary and its replicas, in the order of Fleet.Targets.
	Servers []Server
	// Database is the primary's own database, the first one that is wanted.
	Database string
	// Interval is the time between two looks at a server; default 1s.
	Interval time.Duration
	// CatalogInterval is the time between two questions whether a catalog has changed; default
	// 30s. Look has it asked at once.
	CatalogInterval time.Duration
	// Timeout bounds a connection attempt and a question; default 3s. A server is in
	// trouble after it has failed a question and a connection attempt.
	Timeout time.Duration
	Log     *slog.Logger
	// Publish is called with each snapshot that differs from the one before. It and
	// Primary are called one at a time, from a goroutine of the watcher's, which they
	// should not hold up. Both may be nil.
	Publish func(*router.Fleet)
	// Primary is called when the primary is found to be another server than was known,
	// at first too: backends of the old one are to be dropped. It gets what logs
	// pgshunt's own role in to the new one. AtPrimary does the same for other roles.
	Primary func(*pgconn.Config)
}

// The defaults of Config.
const (
	defaultInterval        = time.Second
	defaultCatalogInterval = 30 * time.Second
	defaultTimeout         = 3 * time.Second
)

// Watcher looks at servers. Its methods may be called from any goroutine.
type Watcher struct {
	cfg      Config
	servers  []*server // as in Config.Servers
	byName   map[string]*server
	primary  *server // nil where none is configured
	history  history
	catalogs *catalogs
	wanted   sync.Map // of database names to true

	// seat is where the primary is, as far as known; nil before it was found.
	seat    atomic.Pointer[seat]
	current atomic.Pointer[router.Fleet]
	changed chan struct{}      // of capacity 1: something is to be assembled
	settle  chan chan struct{} // the same, with an answer

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup
}

// server is one of Config.Servers. What is found is guarded by mu.
type server struct {
	Server
	w     *Watcher
	hosts []*host // several only for the primary
	// progress asks the primary how far it is, and who has confirmed what; or a standby
	// how far it has replayed. It is nil where there is nothing to ask.
	progress *progress
	models   models
	lagged   chan struct{} // closed after the first measurement

	mu        sync.Mutex
	lag       lag
	databases map[string]string // that are wanted: what clients call them, and their names here
}

// New returns a Watcher, which does nothing before Start.
func New(cfg Config) *Watcher {
	if cfg.Interval <= 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.CatalogInterval <= 0 {
		cfg.CatalogInterval = defaultCatalogInterval
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{cfg: cfg, byName: make(map[string]*server), changed: make(chan struct{}, 1), settle: make(chan chan struct{})}
	w.catalogs = newCatalogs(w)
	w.ctx, w.stop = context.WithCancel(context.Background())
	for i := range cfg.Servers {
		s := &server{Server: cfg.Servers[i], w: w, lagged: make(chan struct{}), databases: make(map[string]string)}
		s.hosts = hostsOf(s)
		switch {
		case !s.Replica:
			w.primary = s
			s.progress = newProgress(s, w.askPrimary)
		case s.Feed == router.FeedNative:
			s.progress = newProgress(s, askStandby)
		}
		w.servers = append(w.servers, s)
		w.byName[s.Name] = s
	}
	w.Want("")
	w.Want(cfg.Database)
	w.current.Store(w.assemble())
	return w
}

// Start begins to watch, and returns when Snapshot knows of a look at each server, or when
// ctx has ended, which ends nothing else. It may be called once.
func (w *Watcher) Start(ctx context.Context) {
	w.work.Go(w.publishing)
	w.work.Go(w.catalogs.run)
	for _, s := range w.servers {
		for _, h := range s.hosts {
			w.work.Go(h.watch)
		}
		if s.progress != nil {
			w.work.Go(s.progress.run)
		}
		if s.measured() {
			w.work.Go(s.measure)
		}
	}
	for _, s := range w.servers {
		for _, h := range s.hosts {
			if !await(ctx, h.looked) {
				return
			}
		}
		if s.measured() && !await(ctx, s.lagged) {
			return
		}
	}
	if await(ctx, w.catalogs.first) {
		w.settled(ctx)
	}
}

// settled returns when a snapshot has been made of what was known at the call.
func (w *Watcher) settled(ctx context.Context) bool {
	made := make(chan struct{})
	select {
	case w.settle <- made:
		return await(ctx, made)
	case <-ctx.Done():
		return false
	}
}

func await(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// Close ends all looking, fails all waits and closes all connections.
func (w *Watcher) Close() {
	w.stop()
	w.work.Wait()
}

// Snapshot is what is known now; before the first look, that nothing is.
func (w *Watcher) Snapshot() *router.Fleet { return w.current.Load() }

// Look has a server looked at now, because something has happened to it: a lost
// connection, a training; of the primary, a change of the schema. It never blocks.
func (w *Watcher) Look(target string) {
	s := w.byName[target]
	if s == nil {
		return
	}
	s.models.expire()
	for _, h := range s.hosts {
		h.wake()
	}
	w.catalogs.expire(!s.Replica)
}

// Want says that clients use a database of the primary's, so that its catalog is looked at.
// It is cheap but the first time, and never blocks.
func (w *Watcher) Want(database string) {
	if _, known := w.wanted.LoadOrStore(database, true); known {
		return
	}
	for _, s := range w.servers {
		login, err := s.Login(database)
		if err != nil {
			continue // each look says so
		}
		s.mu.Lock()
		s.databases[database] = login.Database
		s.mu.Unlock()
	}
	if database != "" {
		w.catalogs.want(database)
	}
}

// Compare has a database compared anew, and returns when the snapshot knows the result, or
// when ctx ends. Those who ask at the same time share a comparison. One that takes long is
// followed by a rest, and where that would last longer than ctx, Compare returns at once.
func (w *Watcher) Compare(ctx context.Context, database string) {
	if w.catalogs.sure(ctx, database) {
		w.settled(ctx)
	}
}

// change has the snapshot made anew.
func (w *Watcher) change() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// Read looks once, for a snapshot of what clients of a database would meet. The error says
// that ctx ended before every server had been looked at.
func Read(ctx context.Context, cfg Config, database string) (*router.Fleet, error) {
	w := New(cfg)
	defer w.Close()
	w.Want(database)
	w.Start(ctx)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return w.Snapshot(), nil
}
