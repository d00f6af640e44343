package main

import (
	"fmt"
	"strconv"
	"time"
)

// prettyBytes writes a size as people read it, in PostgreSQL's units.
func prettyBytes(n int64) string {
	if n < 10*1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	f, unit := float64(n)/1024, "kB"
	for _, u := range []string{"MB", "GB", "TB", "PB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	if f < 10 {
		return fmt.Sprintf("%.1f %s", f, unit)
	}
	return fmt.Sprintf("%.0f %s", f, unit)
}

// grouped writes a number with commas between thousands.
func grouped(n int64) string {
	text, sign := strconv.FormatInt(n, 10), ""
	if n < 0 {
		text, sign = text[1:], "-"
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

// shortTime writes how long something took, in two or three digits.
func shortTime(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return clock(d)
}

// clock writes a time as m:ss or h:mm:ss, or in days.
func clock(d time.Duration) string {
	s := int64(d.Round(time.Second).Seconds())
	switch {
	case s < 3600:
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	case s < 48*3600:
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d days", s/86400)
}

// amounts writes those that are not 0, each after a comma.
func amounts(tables int, rows, bytes int64) (text string) {
	if tables > 0 {
		text += ", " + counted(tables, "table")
	}
	if rows > 0 {
		text += ", " + grouped(rows) + " rows"
	}
	if bytes > 0 {
		text += ", " + prettyBytes(bytes)
	}
	return text
}
