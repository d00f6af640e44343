package main

import "syscall"

// helperAttr keeps the terminal's Ctrl-C from a program that this one starts and
// ends by itself, and ends it should this one be killed.
func helperAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
