package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgshunt/feed"
)

const barWidth = 24

// draw draws the bar of the foremost step in place of the last one. What is longer than the
// terminal is wide is cut off by it.
func (p *feedProgress) draw(now time.Time) {
	s := p.foremost()
	if now.Sub(s.began) < barPace && !p.drawn {
		return // over at once, most likely
	}
	bar := ""
	if done, total := ratio(s.Event); total > 0 {
		full := int(min(done*barWidth/total, barWidth))
		bar = "[" + strings.Repeat("#", full) + strings.Repeat("-", barWidth-full) + "] "
	}
	const noWrap, wrap = "\x1b[?7l", "\x1b[?7h"
	fmt.Fprintf(p.to.out, "\r\x1b[K%s  %s%s%s", noWrap, bar, s.line(now), wrap)
	p.drawn = true
}

// foremost is the newest step of which is known how far it is, else the newest.
func (p *feedProgress) foremost() *activeStep {
	for _, s := range slices.Backward(p.active) {
		if _, total := ratio(s.Event); total > 0 {
			return s
		}
	}
	return p.active[len(p.active)-1]
}

// erase takes the bar away.
func (p *feedProgress) erase() {
	if p.drawn {
		fmt.Fprint(p.to.out, "\r\x1b[K")
		p.drawn = false
	}
}

// line says how far the step is: share, step, amounts, rate and the time that is left.
func (s *activeStep) line(now time.Time) string {
	text := withTable(s.Event)
	done, total := ratio(s.Event)
	if total > 0 {
		text = fmt.Sprintf("%3d%% %s", min(done*100/total, 100), text)
	}
	for _, part := range []struct {
		done, total int64
		print       func(int64) string
	}{
		{s.Bytes, s.TotalBytes, prettyBytes},
		{s.Rows, s.TotalRows, func(n int64) string { return grouped(n) + " rows" }},
		{int64(s.TablesDone), int64(s.TablesTotal), func(n int64) string { return grouped(n) + " tables" }},
	} {
		switch {
		case part.total > 0:
			text += fmt.Sprintf(", %s of %s", strings.TrimSuffix(strings.TrimSuffix(part.print(part.done), " rows"), " tables"), part.print(part.total))
		case part.done > 0:
			text += ", " + part.print(part.done)
		}
	}
	switch perSecond := int64(s.rate.perSecond()); {
	case perSecond > 0 && s.Bytes > 0:
		text += ", " + prettyBytes(perSecond) + "/s"
	case perSecond > 0 && s.Rows > 0:
		text += ", " + grouped(perSecond) + " rows/s"
	}
	if pace := s.share.perSecond(); pace > 0 && total > done && (s.Bytes > 0 || s.Rows > 0) {
		return text + ", " + clock(time.Duration(float64(total-done)/pace*float64(time.Second))) + " left"
	}
	return text + ", " + clock(now.Sub(s.began))
}

// ratio is how much of the step is done, by the finest measure of which the whole is known.
func ratio(e feed.Event) (done, total int64) {
	switch {
	case e.TotalBytes > 0:
		return e.Bytes, e.TotalBytes
	case e.TotalRows > 0:
		return e.Rows, e.TotalRows
	}
	return int64(e.TablesDone), int64(e.TablesTotal)
}

// amount is what the rate is measured in: bytes, or rows where there are none.
func amount(e feed.Event) int64 {
	if e.Bytes > 0 {
		return e.Bytes
	}
	return e.Rows
}

// rate measures how fast an amount grows, over the last ten seconds or so.
type rate struct {
	marks []mark // the oldest first, at least half a second apart
}

type mark struct {
	at time.Time
	n  int64
}

const rateSpan = 10 * time.Second

func (r *rate) add(at time.Time, n int64) {
	if k := len(r.marks); k > 1 && at.Sub(r.marks[k-2].at) < time.Second/2 {
		r.marks[k-1] = mark{at, n}
	} else {
		r.marks = append(r.marks, mark{at, n})
	}
	for len(r.marks) > 2 && at.Sub(r.marks[1].at) > rateSpan {
		r.marks = r.marks[1:]
	}
}

// perSecond is 0 as long as nobody can tell.
func (r *rate) perSecond() float64 {
	if len(r.marks) < 2 {
		return 0
	}
	first, last := r.marks[0], r.marks[len(r.marks)-1]
	if span := last.at.Sub(first.at).Seconds(); span > 0 {
		return float64(last.n-first.n) / span
	}
	return 0
}
