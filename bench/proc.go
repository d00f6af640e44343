package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc, 1/USER_HZ, which is the same on every
// architecture that Go supports.
const clockTick = 10 * time.Millisecond

// cpuTime is the CPU time that all threads of a process have used so far, user
// and system. The nil process uses none.
func (p *process) cpuTime() (time.Duration, error) {
	if p == nil {
		return 0, nil
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return parseStat(stat)
}

// parseStat reads utime and stime, fields 14 and 15 of /proc/PID/stat.
func parseStat(stat []byte) (time.Duration, error) {
	// The second field is the command in parentheses, which may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const first, utime, stime = 3, 14, 15 // fields has the third field first
	if len(fields) <= stime-first {
		return 0, fmt.Errorf("/proc/PID/stat: unexpected content %q", stat)
	}
	var sum int64
	for _, field := range []int{utime, stime} {
		n, err := strconv.ParseInt(fields[field-first], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/PID/stat: field %d: %w", field, err)
		}
		sum += n
	}
	return time.Duration(sum) * clockTick, nil
}

// residentBytes is the memory of a process that is in RAM.
func (p *process) residentBytes() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return parseResident(string(status))
}

// parseResident reads VmRSS of /proc/PID/status.
func parseResident(status string) (int64, error) {
	_, after, ok := strings.Cut(status, "\nVmRSS:")
	var kb int64
	if _, err := fmt.Sscanf(after, "%d kB", &kb); !ok || err != nil {
		return 0, fmt.Errorf("/proc/PID/status: no VmRSS")
	}
	return kb << 10, nil
}

// loadAverage is the first figure of /proc/loadavg, or 0.
func loadAverage() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	word, _, _ := strings.Cut(string(text), " ")
	load, _ := strconv.ParseFloat(word, 64)
	return load
}
