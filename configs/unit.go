package configs

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time with a unit in the file: "500ms", "2s", "5min", "1h30m", "7d".
type Duration time.Duration

// String prints the duration as a file could hold it.
func (d Duration) String() string {
	if d == 0 {
		return "0"
	}
	day := Duration(24 * time.Hour)
	if d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText makes JSON print the same text.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func parseDuration(text string) (Duration, error) {
	if text == "0" {
		return 0, nil
	}
	if isNumber(text) {
		return 0, fmt.Errorf("%s has no unit; write %ss for seconds, or ms, min, h, d", text, text)
	}
	s := strings.ReplaceAll(text, "min", "m")
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 31)
		if err != nil || n > math.MaxInt64/uint64(24*time.Hour) {
			return 0, fmt.Errorf("%q is not a duration; write a number of days such as 7d", text)
		}
		return Duration(time.Duration(n) * 24 * time.Hour), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration; write a number and a unit such as 500ms, 2s, 5min, 1h or 7d", text)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative; write 0 or more", text)
	}
	return Duration(d), nil
}

// Size is a number of bytes with a unit in the file: "64kB", "16MB", "1GB". As in
// PostgreSQL a kB is 1024 bytes.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"kB", 1 << 10}, {"B", 1}}

// String prints the size in the largest unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return "0"
}

// MarshalText makes JSON print the same text.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func parseSize(text string) (Size, error) {
	if text == "0" {
		return 0, nil
	}
	if isNumber(text) {
		return 0, fmt.Errorf("%s has no unit; write %sMB, or B, kB, GB, TB", text, text)
	}
	number := strings.TrimRight(text, "BbKkMmGgTti ")
	unit := strings.TrimSpace(text[len(number):])
	for _, u := range sizeUnits {
		if !strings.EqualFold(unit, u.name) && !strings.EqualFold(unit, u.name[:1]+"iB") {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange) || err == nil && n > math.MaxInt64/u.bytes:
			return 0, fmt.Errorf("%q is more than fits in 64 bits", text)
		case err == nil && n < 0:
			return 0, fmt.Errorf("%q is negative; write 0 or more", text)
		case err == nil:
			return Size(n * u.bytes), nil
		}
	}
	return 0, fmt.Errorf("%q is not a size; write a whole number and a unit such as 64kB, 16MB or 1GB", text)
}

func isNumber(text string) bool {
	_, err := strconv.ParseFloat(text, 64)
	return err == nil
}
