package cluster

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// privateTree builds an installation below root that is b plus the given files
// in its extension directory, and returns the path of its postgres.
//
// The server computes its share and library directories from the place of its
// executable, links resolved, by keeping the relative layout it was compiled
// with. So the executable is a copy, everything else are links, and the layout
// is the original one.
func (b *Binaries) privateTree(root string, extensions map[string][]byte) (string, error) {
	prefix := commonDir(b.Dir, b.share, b.pkglib)
	place := func(dir string) string {
		rel, err := filepath.Rel(prefix, dir)
		if err != nil {
			panic("BUG: " + err.Error()) // prefix is a parent of dir by construction
		}
		return filepath.Join(root, rel)
	}

	postgres := filepath.Join(place(b.Dir), "postgres")
	if err := copyFile(b.path("postgres"), postgres, 0o755); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(place(b.pkglib)), 0o755); err != nil {
		return "", err
	}
	if err := os.Symlink(b.pkglib, place(b.pkglib)); err != nil {
		return "", err
	}
	share := place(b.share)
	if err := linkEntries(b.share, share, "extension"); err != nil {
		return "", err
	}
	extensionDir := filepath.Join(share, "extension")
	if err := linkEntries(filepath.Join(b.share, "extension"), extensionDir, ""); err != nil {
		return "", err
	}
	for name, content := range extensions {
		if name != filepath.Base(name) || strings.HasPrefix(name, ".") {
			return "", fmt.Errorf("extension file %q: want a plain file name", name)
		}
		path := filepath.Join(extensionDir, name)
		// A file of ours hides the system's file of that name.
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return "", err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return "", err
		}
	}
	return postgres, nil
}

// linkEntries makes dst with a link to each entry of src but the one named except.
func linkEntries(src, dst, except string) error {
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == except {
			continue
		}
		if err := os.Symlink(filepath.Join(src, e.Name()), filepath.Join(dst, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func commonDir(first string, others ...string) string {
	for dir := filepath.Clean(first); ; dir = filepath.Dir(dir) {
		inside := true
		for _, o := range others {
			rel, err := filepath.Rel(dir, o)
			inside = inside && err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
		}
		if inside || dir == filepath.Dir(dir) {
			return dir
		}
	}
}

func copyFile(src, dst string, mode os.FileMode) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
