package program

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// scratchPattern is what directories of this package are called, in the system's one for
// temporary files.
const scratchPattern = "pgshunt-feed-*"

// Scratch makes a directory that only this user can look into. Its lock is held until remove
// is called, or the process ends; directories of processes that were killed are
// removed by the next one.
func Scratch() (dir string, remove func() error, err error) {
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), scratchPattern))
	for _, one := range found {
		if lock, err := lockDir(one); err == nil {
			_ = os.RemoveAll(one) // another user's stays
			_ = lock.Close()
		}
	}
	// A directory that is not yet locked may be taken for a dead one: then there is no
	// directory any more once it is locked, and another is made.
	for range 10 {
		if dir, err = os.MkdirTemp("", scratchPattern); err != nil {
			return "", nil, err
		}
		var lock *os.File
		if lock, err = lockDir(dir); err != nil {
			continue
		}
		if _, err = os.Stat(dir); err == nil {
			return dir, func() error { return errors.Join(os.RemoveAll(dir), lock.Close()) }, nil
		}
		_ = lock.Close()
	}
	return "", nil, err
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := TryLock(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// TryLock locks a file against other processes until it is closed, or fails at once where
// another one has.
func TryLock(f *os.File) error {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
}
