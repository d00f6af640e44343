package main

import (
	"syscall"
	"time"
	"unsafe"
)

// helperAttr keeps the terminal's Ctrl-C from a program that this one starts and
// ends by itself, and ends it should this one be killed.
func helperAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// cpuClock reads the CPU clock of a process: user and system time of all its threads,
// those that have ended too, to the nanosecond. /proc/PID/stat counts the same in
// hundredths of a second, too coarse for the 64 processes of Pgpool.
func cpuClock(pid int) (time.Duration, error) {
	// How clock_getcpuclockid(3) makes a clock of a process: CPUCLOCK_SCHED is 2.
	const sched = 2
	clock := ^pid<<3 | sched
	var now syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&now)), 0)
	if errno != 0 {
		return 0, errno
	}
	return time.Duration(now.Nano()), nil
}
