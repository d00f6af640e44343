package cluster

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// templateAge bounds how long a template is trusted: cleaners of temporary
// directories remove files one by one, and would leave a broken template.
const templateAge = 24 * time.Hour

// newDataDir fills dir, which must not exist, with a freshly initialised data
// directory owned by acct.
func newDataDir(ctx context.Context, b *Binaries, acct account, superuser, dir string) error {
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n%s", b.Version, b.Dir, acct.uid, superuser))
	template := filepath.Join(cache, fmt.Sprintf("template-%x", key[:6]))

	lock, err := os.OpenFile(template+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close() // also unlocks

	for {
		if err := flock(ctx, lock, syscall.LOCK_SH); err != nil {
			return err
		}
		if usable(template) {
			break
		}
		if err := flock(ctx, lock, syscall.LOCK_EX); err != nil {
			return err
		}
		if !usable(template) { // nobody was faster between the two locks
			if err := makeTemplate(ctx, b, acct, superuser, template); err != nil {
				return err
			}
		}
	}
	if err := os.CopyFS(dir, os.DirFS(template)); err != nil {
		return fmt.Errorf("copy of the data directory template: %w", err)
	}
	// CopyFS does not keep permissions, and the server insists on them.
	if err := restrict(dir); err != nil {
		return err
	}
	return acct.own(dir)
}

func usable(template string) bool {
	info, err := os.Stat(template)
	return err == nil && time.Since(info.ModTime()) < templateAge
}

func makeTemplate(ctx context.Context, b *Binaries, acct account, superuser, template string) error {
	work := template + ".new"
	for _, dir := range []string{work, template} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	if err := acct.own(work); err != nil {
		return err
	}
	// One-megabyte WAL segments make the copy half as large.
	cmd := exec.CommandContext(ctx, b.path("initdb"), "-D", work, "-U", superuser, "-A", "trust",
		"-E", "UTF8", "--no-locale", "--no-sync", "--wal-segsize=1")
	cmd.Dir = filepath.Dir(work)
	cmd.Env = serverEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: acct.credential()}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return os.Rename(work, template)
}

// cacheDir is shared by all processes of this user. Its name is predictable in
// a directory that others may write to, so it must be ours and ours alone.
func cacheDir() (string, error) {
	tmp, err := filepath.EvalSymlinks(os.TempDir())
	if err != nil {
		return "", err
	}
	dir := filepath.Join(tmp, fmt.Sprintf("pgshunt-cache-%d", os.Geteuid()))
	if err := os.Mkdir(dir, 0o755); err != nil && !os.IsExist(err) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(stat.Uid) != os.Geteuid() || info.Mode()&0o022 != 0 {
		return "", fmt.Errorf("%s is not a directory of this user alone; remove it", dir)
	}
	// Whatever the umask: initdb enters it under the server's account.
	return dir, os.Chmod(dir, 0o755)
}

// flock takes a lock, giving up when ctx is done. It polls, since a blocked
// flock could not be given up.
func flock(ctx context.Context, f *os.File, how int) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return nil
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", f.Name(), context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func restrict(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
}
