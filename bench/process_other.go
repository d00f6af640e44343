//go:build unix && !linux

package main

import (
	"errors"
	"syscall"
	"time"
)

func helperAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func cpuClock(int) (time.Duration, error) { return 0, errors.ErrUnsupported }
