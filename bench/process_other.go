//go:build unix && !linux

package main

import "syscall"

func helperAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
