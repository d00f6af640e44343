package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
)

// LimitFiles sets how large a file may grow for connections that are made from now on; 0 is as
// large as it likes. It needs the program prlimit, of util-linux, which it runs as the server's
// own account: no other may do that without more rights than containers give.
func (c *Cluster) LimitFiles(ctx context.Context, bytes int64) error {
	limit := "unlimited"
	if bytes > 0 {
		limit = strconv.FormatInt(bytes, 10)
	}
	cmd := exec.CommandContext(ctx, "prlimit", "--pid", strconv.Itoa(c.PID()), "--fsize="+limit+":")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.acct.credential()}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("prlimit: %w: %s", err, out)
	}
	return nil
}
