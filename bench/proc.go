package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc, 1/USER_HZ, which is the same on every
// architecture that Go supports.
const clockTick = 10 * time.Millisecond

// cpuTime is the CPU time that a proxy has used so far, user and system, with all
// threads and all processes it has started. The nil process uses none.
func (p *process) cpuTime() (time.Duration, error) {
	if p == nil {
		return 0, nil
	}
	leader := p.cmd.Process.Pid
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended since, and its parent has its time
		}
		stat, err := parseStat(text)
		if err != nil {
			return 0, err
		}
		if stat.group != leader {
			continue
		}
		used, err := cpuClock(stat.pid)
		if err != nil {
			return 0, fmt.Errorf("CPU clock of process %d: %w", stat.pid, err)
		}
		sum += used + stat.reaped
	}
	return sum, nil
}

// procStat is what we want of /proc/PID/stat.
type procStat struct {
	pid, group int
	reaped     time.Duration // CPU time of its children that have ended
}

// parseStat reads /proc/PID/stat: fields 1, 5, 16 and 17.
func parseStat(stat []byte) (procStat, error) {
	// The second field is the command in parentheses, which may hold anything.
	rest := stat[bytes.LastIndexByte(stat, ')')+1:]
	fields := strings.Fields(string(rest))
	const first, pgrp, cutime, cstime = 3, 5, 16, 17 // fields has the third field first
	if len(fields) <= cstime-first {
		return procStat{}, fmt.Errorf("/proc/PID/stat: unexpected content %q", stat)
	}
	pid, _, _ := strings.Cut(string(stat), " ")
	var numbers [4]int64
	for i, word := range []string{pid, fields[pgrp-first], fields[cutime-first], fields[cstime-first]} {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return procStat{}, fmt.Errorf("/proc/PID/stat: unexpected content %q: %w", stat, err)
		}
		numbers[i] = n
	}
	return procStat{int(numbers[0]), int(numbers[1]), time.Duration(numbers[2]+numbers[3]) * clockTick}, nil
}

// residentBytes is the memory of a process that is in RAM.
func (p *process) residentBytes() (int64, error) { return p.memory("VmRSS") }

// resetPeak has peakBytes start anew. The nil process has no memory.
func (p *process) resetPeak() error {
	if p == nil {
		return nil
	}
	const peak = "5" // what proc(5) calls resetting the peak resident set size
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte(peak), 0)
}

// peakBytes is the most memory of the process that was in RAM since resetPeak.
func (p *process) peakBytes() (int64, error) { return p.memory("VmHWM") }

func (p *process) memory(field string) (int64, error) {
	if p == nil {
		return 0, nil
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return parseMemory(string(status), field)
}

// parseMemory reads one of the sizes in /proc/PID/status.
func parseMemory(status, field string) (int64, error) {
	_, after, ok := strings.Cut(status, "\n"+field+":")
	var kb int64
	if _, err := fmt.Sscanf(after, "%d kB", &kb); !ok || err != nil {
		return 0, fmt.Errorf("/proc/PID/status: no %s", field)
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
