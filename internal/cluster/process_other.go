//go:build unix && !linux

package cluster

import "syscall"

func procAttr(acct account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: acct.credential(), Setpgid: true}
}

// childrenOf knows nothing here; the children of a killed postmaster notice by
// themselves, a little later, and a Restart in between fails.
func childrenOf(int) []int { return nil }

func ended(int) bool { return true }
