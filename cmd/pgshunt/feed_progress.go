package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"pgshunt/feed"
)

// feedDone is a step that was carried out, or with --print would be; steps that differ only in
// their table are one.
type feedDone struct {
	Server string        `json:"server,omitempty"`
	Step   string        `json:"step"`
	Times  int           `json:"times"`
	Bytes  int64         `json:"bytes,omitempty"`
	Rows   int64         `json:"rows,omitempty"`
	Tables int           `json:"tables,omitempty"`
	Took   time.Duration `json:"took_ns"`
}

// The pace of what is shown while a step lasts: a bar moves, lines must not flood a log.
const (
	barPace  = 200 * time.Millisecond
	linePace = 5 * time.Second
)

// feedProgress shows the events of one feed as they happen: as a bar below the lines of what
// has been done on a terminal, as lines elsewhere, or as JSON. Its take is a feed.Sink.
type feedProgress struct {
	to   feedStreams
	json bool
	// script is set where steps are only printed: then every other line is a comment of SQL.
	script bool

	mu      sync.Mutex
	active  []*activeStep
	drawn   bool // the bar stands on the last line
	done    []feedDone
	skipped int
	notes   map[string]bool // that have been told

	stop, stopped chan struct{}
}

// activeStep is a step that lasts.
type activeStep struct {
	feed.Event        // the last one
	table      string // of the first one
	began      time.Time
	told       time.Time // when a line was last printed of it
	rate       rate      // of bytes, or of rows where there are none
	share      rate      // of what the whole is known of
}

func newFeedProgress(to feedStreams, asJSON bool) *feedProgress {
	p := &feedProgress{to: to, json: asJSON, notes: make(map[string]bool), stop: make(chan struct{}), stopped: make(chan struct{})}
	go p.tick()
	return p
}

// close ends what is shown. done and skipped are the caller's then.
func (p *feedProgress) close() {
	close(p.stop)
	<-p.stopped
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

// tick shows steps that last, also while nothing is heard of them.
func (p *feedProgress) tick() {
	defer close(p.stopped)
	pace := linePace
	if p.to.live {
		pace = barPace
	}
	t := time.NewTicker(pace)
	defer t.Stop()
	for {
		select {
		case <-p.stop:
			return
		case now := <-t.C:
			p.mu.Lock()
			p.show(now, pace)
			p.mu.Unlock()
		}
	}
}

// show draws the bar of the foremost step, or prints a line for each step of which none has been
// printed for a while.
func (p *feedProgress) show(now time.Time, pace time.Duration) {
	switch {
	case p.json || len(p.active) == 0:
	case p.to.live:
		p.draw(now)
	default:
		for _, s := range p.active {
			if now.Sub(s.told) >= pace/2 {
				s.told = now
				fmt.Fprintf(p.to.out, "  %-8s %s\n", "...", s.line(now))
			}
		}
	}
}

// take hears an event.
func (p *feedProgress) take(e feed.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json && e.Status != feed.StatusProgress {
		printLine(p.to.out, e)
	}
	e.Step, e.Table = noControl(e.Step), noControl(e.Table)
	i := p.of(e)
	switch e.Status {
	case feed.StatusStart:
		p.active = append(p.active, &activeStep{Event: e, table: e.Table, began: e.Time, told: e.Time})
	case feed.StatusProgress:
		if i < 0 {
			p.active = append(p.active, &activeStep{Event: e, table: e.Table, began: e.Time, told: e.Time})
			i = len(p.active) - 1
		}
		p.progress(p.active[i], e)
	case feed.StatusDone:
		if i >= 0 {
			if e.Rows >= 0 {
				e.Bytes, e.Rows = max(e.Bytes, p.active[i].Bytes), max(e.Rows, p.active[i].Rows)
			}
			e.TablesDone = max(e.TablesDone, p.active[i].TablesDone)
			if e.Took == 0 {
				e.Took = e.Time.Sub(p.active[i].began)
			}
			p.active = slices.Delete(p.active, i, i+1)
		}
		p.add(e)
		p.line("done", doneLine(e))
	case feed.StatusSkip:
		p.skipped++
		p.line("already", withTable(e))
	case feed.StatusWould:
		p.add(e)
		p.would(e)
	case feed.StatusNote:
		// Steps for one table after the other come upon the same thing: it is told once.
		if text := strings.TrimPrefix(e.Server+": ", ": ") + e.Step; !p.notes[text] {
			p.notes[text] = true
			p.line("note", text)
		}
	}
}

// of finds the step that an event is of, -1 if none: several tables may be at the same step,
// or one step goes from table to table.
func (p *feedProgress) of(e feed.Event) int {
	same := func(s *activeStep) bool { return s.Server == e.Server && s.Step == e.Step }
	if i := slices.IndexFunc(p.active, func(s *activeStep) bool { return same(s) && s.table == e.Table }); i >= 0 {
		return i
	}
	return slices.IndexFunc(p.active, func(s *activeStep) bool { return same(s) && s.table == "" })
}

// progress keeps the newest amounts of a step. JSON is told of them at the pace of lines.
func (p *feedProgress) progress(s *activeStep, e feed.Event) {
	if e.SQL == "" {
		e.SQL = s.SQL
	}
	s.Event = e
	s.rate.add(e.Time, amount(e))
	done, _ := ratio(e)
	s.share.add(e.Time, done)
	if p.json && e.Time.Sub(s.told) >= linePace {
		s.told = e.Time
		printLine(p.to.out, e)
	}
}

// finish ends a step without a line.
func (p *feedProgress) finish(e feed.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = slices.DeleteFunc(p.active, func(s *activeStep) bool { return s.Server == e.Server && s.Step == e.Step })
}

func (p *feedProgress) add(e feed.Event) {
	e.Bytes, e.Rows = max(e.Bytes, 0), max(e.Rows, 0)
	for i := range p.done {
		if d := &p.done[i]; d.Server == e.Server && d.Step == e.Step {
			d.Times++
			d.Bytes, d.Rows, d.Tables, d.Took = d.Bytes+e.Bytes, d.Rows+e.Rows, max(d.Tables, e.TablesDone), d.Took+e.Took
			return
		}
	}
	p.done = append(p.done, feedDone{Server: e.Server, Step: e.Step, Times: 1, Bytes: e.Bytes, Rows: e.Rows, Tables: e.TablesDone, Took: e.Took})
}

// line prints what has happened, above the bar.
func (p *feedProgress) line(word, text string) {
	if p.json {
		return
	}
	p.erase()
	if p.script {
		fmt.Fprintf(p.to.out, "-- %s: %s\n", word, text)
		return
	}
	code, ok := map[string]string{"done": green, "note": yellow}[word]
	fmt.Fprintf(p.to.out, "  %s %s\n", paint(p.to.colour && ok, code, fmt.Sprintf("%-8s", word)), text)
}

// noControl replaces the control characters of a text: a name may have line feeds, behind which
// a comment of a script would end, and what a terminal obeys.
func noControl(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}

// archiveLine is what pg_restore writes around each statement, with the empty lines after it.
var archiveLine = regexp.MustCompile(`(?m)^--( (TOC entry|Name:|Dependencies:|Data Pos:).*)?\n+`)

// would prints a step that is not carried out, in a form that can be read as a script.
func (p *feedProgress) would(e feed.Event) {
	if p.json {
		return
	}
	fmt.Fprintf(p.to.out, "-- %s%s\n", e.Step, on(e.Server))
	if sql := strings.TrimSpace(archiveLine.ReplaceAllString(e.SQL, "")); sql != "" && !strings.HasPrefix(sql, "--") {
		fmt.Fprintf(p.to.out, "%s\n\n", strings.TrimSuffix(sql, ";")+";")
	}
}

func doneLine(e feed.Event) string {
	text := withTable(e)
	if e.Table != "" {
		e.TablesDone = 0 // of all that are at this step
	}
	return text + amounts(e.TablesDone, e.Rows, e.Bytes) + ", " + shortTime(e.Took)
}

// withTable is the step with its server, and its table unless the step names that.
func withTable(e feed.Event) string {
	text := e.Step + on(e.Server)
	if e.Table != "" && !strings.Contains(e.Step, e.Table) {
		text += ", " + e.Table
	}
	return text
}

// on names the server of a step; "" where it works on this machine.
func on(server string) string {
	if server == "" {
		return ""
	}
	return " on " + server
}
