package cluster

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// procAttr keeps terminal signals away from the server (its own process group)
// and makes the kernel shut it down at once when this process is gone.
func procAttr(acct account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Credential: acct.credential(),
		Setpgid:    true,
		Pdeathsig:  syscall.SIGQUIT,
	}
}

// childrenOf lists the processes that pid has forked. The postmaster's children
// leave its process group, so a signal to the group would not reach them.
func childrenOf(pid int) []int {
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var pids []int
	for f := range strings.FieldsSeq(string(list)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// ended says whether a process holds nothing any more: it is gone, or a zombie
// that nobody has collected (an init process in a container may never do).
func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	// The state follows the command's name, which is in parentheses and may hold any.
	_, state, ok := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
	return !ok || strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}
