package main

import "fmt"

// exitStatus is an error for main to exit with, after everything has been said.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// The exit codes of every subcommand.
const (
	exitFinding exitStatus = 1 // a failed check, drift, a failed policy test
	exitUsage   exitStatus = 2 // wrong usage or configuration
)
