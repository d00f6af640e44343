package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The time of a proxy's other processes counts while they run, and after.
func TestCPUTimeIsThatOfAllProcesses(t *testing.T) {
	const work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
	for name, script := range map[string]string{
		"running": "(%[1]s; echo done >%[2]s; read x <%[3]s) & wait",
		"ended":   "sh -c '%[1]s; exit 1' || echo done >%[2]s; read x <%[3]s",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			done, never := filepath.Join(dir, "done"), filepath.Join(dir, "never")
			for _, path := range []string{done, never} {
				if err := syscall.Mkfifo(path, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			p, err := startProcess(filepath.Join(dir, "log"), nil, "sh", "-c", fmt.Sprintf(script, work, done, never))
			if err != nil {
				t.Fatal(err)
			}
			defer p.stop()
			if said, err := os.ReadFile(done); err != nil || string(said) != "done\n" {
				t.Fatalf("the shell said %q, %v", said, err)
			}
			first, err := cpuClock(p.cmd.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			all, err := p.cpuTime()
			if err != nil {
				t.Fatal(err)
			}
			if all < 2*first {
				t.Errorf("all processes: %v, the first alone %v", all, first)
			}
		})
	}
}
