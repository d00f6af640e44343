package proxy

import (
	"math"
	"strconv"
	"strings"
	"time"

	"pgshunt/router"
)

// statementTimeout is how long a statement may take, as the session and the policy have
// it, or 0. What a role has by ALTER ROLE is not known here.
func (s *session) statementTimeout(d router.Decision) time.Duration {
	s.mu.Lock()
	set, _ := s.state.local.Get("statement_timeout")
	s.mu.Unlock()
	own, _ := milliseconds(set.Value)
	if own == 0 || d.Timeout > 0 && d.Timeout < own {
		return d.Timeout
	}
	return own
}

// timeUnits are those of PostgreSQL's settings.
var timeUnits = []struct {
	name string
	is   time.Duration
}{
	{"us", time.Microsecond},
	{"ms", time.Millisecond},
	{"min", time.Minute},
	{"s", time.Second},
	{"h", time.Hour},
	{"d", 24 * time.Hour},
}

// milliseconds reads a setting whose unit is ms where none is given (parse_int in
// utils/misc/guc.c, without hexadecimal and octal numbers).
func milliseconds(value string) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	unit := time.Millisecond
	for _, u := range timeUnits {
		if number, ok := strings.CutSuffix(value, u.name); ok {
			value, unit = strings.TrimSpace(number), u.is
			break
		}
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || n < 0 || n*float64(unit) >= math.MaxInt64 {
		return 0, false
	}
	return time.Duration(math.Round(n*float64(unit)/float64(time.Millisecond))) * time.Millisecond, true
}
