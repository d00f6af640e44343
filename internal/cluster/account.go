package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// account is who a server runs as. PostgreSQL refuses to run as root, so a root
// process hands its servers to an unprivileged user; anybody else runs them as
// themselves.
type account struct {
	uid, gid int
	switched bool // other than the account of this process
}

func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return account{}, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return account{}, fmt.Errorf("user %s: %w", name, err)
		}
		return account{uid: uid, gid: gid, switched: true}, nil
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}

// credential is nil when no switch of user is needed, which is also what an
// unprivileged process is allowed to ask for.
func (a account) credential() *syscall.Credential {
	if !a.switched {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
}

// own makes the account owner of everything below dir.
func (a account) own(dir string) error {
	if !a.switched {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, a.uid, a.gid)
	})
}

// reach makes sure that the account can pass through every parent of dir.
// Temporary directories often lie below one of mode 0700 (testing.TB.TempDir
// does); those get the search bit, which lets nobody list them. A directory
// outside the system's temporary one is not ours to open and is an error.
func (a account) reach(dir string) error {
	if !a.switched {
		return nil
	}
	tmp, err := filepath.EvalSymlinks(os.TempDir())
	if err != nil {
		return err
	}
	for parent := filepath.Dir(dir); ; parent = filepath.Dir(parent) {
		info, err := os.Stat(parent)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			if !strings.HasPrefix(parent, tmp+string(filepath.Separator)) {
				return fmt.Errorf("%s: uid %d, which the server runs as, may not enter it; choose a directory elsewhere", parent, a.uid)
			}
			if err := os.Chmod(parent, info.Mode().Perm()|0o001); err != nil {
				return err
			}
		}
		if parent == filepath.Dir(parent) {
			return nil
		}
	}
}
