package dump

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pgshunt/feed"
	"pgshunt/feed/program"
	"pgshunt/feed/schema"
)

// Files of a directory beside those of package schema. The marker is there while it is
// written, and locked by who writes it.
const (
	manifestFile = "pgshunt.json"
	writtenFile  = "pgshunt.json.new"
	markerFile   = "pgshunt.partial"
)

// manifestFormat is counted up when an older pgshunt would misunderstand what is written: with
// tables that inherit it is 2.
const manifestFormat = 2

// format is the lowest that says what is in the manifest.
func (m *manifest) format() int {
	if slices.ContainsFunc(m.Tables, func(t *feed.Table) bool { return len(t.Parents) > 0 }) {
		return 2
	}
	return 1
}

// manifest says what a directory holds. It has no secret.
type manifest struct {
	Format  int    `json:"format"`
	Pgshunt string `json:"pgshunt"`
	// Primary is the host and the port, Server its version as 150018.
	Primary  string `json:"primary"`
	Database string `json:"database"`
	// System is the primary's system identifier, "" where it was not known.
	System string `json:"system,omitempty"`
	Server int    `json:"server_version_num"`
	// At is the moment of the snapshot by the primary's clock, Snapshot its pg_current_snapshot().
	At          time.Time     `json:"snapshot_at"`
	Snapshot    string        `json:"snapshot"`
	Tables      []*feed.Table `json:"tables"`
	Sequences   []reached     `json:"sequences"`
	Definitions *schema.Saved `json:"definitions"`
	// Newer is what a replica may be too old for.
	Newer []schema.Newer `json:"newer,omitempty"`
	// Files has the size of every other file, by its path within the directory.
	Files map[string]int64 `json:"files"`
	// Sum is the SHA-256 of this file with zeros in its place. Those written before there was
	// one lack it.
	Sum string `json:"sum,omitempty"`

	dir string
	// While a copy is made from it: where the rows are, and a directory for lists, which remove
	// removes.
	rows    *schema.Rows
	scratch string
	remove  func() error
}

// readManifest reads a directory's manifest and looks whether its files are whole.
func readManifest(dir string) (*manifest, error) {
	if _, err := os.Stat(filepath.Join(dir, markerFile)); err == nil {
		return nil, fmt.Errorf("%s is not finished: it is being written, or the command that wrote it was killed; run that again (--to-dir)", dir)
	}
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no %s; name a directory that pgshunt feed apply --to-dir has made", dir, manifestFile)
	}
	if err != nil {
		return nil, err
	}
	m := &manifest{dir: dir}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, m.damaged(fmt.Errorf("%s: %w", manifestFile, err))
	}
	if m.Format < 1 || m.Format > manifestFormat {
		return nil, fmt.Errorf("%s has format %d, and this pgshunt knows up to %d; use the version that made it (%s)", dir, m.Format, manifestFormat, m.Pgshunt)
	}
	if m.Sum != "" && m.Sum != sum(text, m.Sum) {
		return nil, m.damaged(fmt.Errorf("%s is not as it was written", manifestFile))
	}
	if m.Definitions == nil || slices.Contains(m.Tables, nil) {
		return nil, m.damaged(fmt.Errorf("%s lacks definitions", manifestFile))
	}
	m.Definitions.Dir = dir
	files, err := sizes(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range m.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		size, there := files[name]
		switch {
		case !there:
			return nil, m.damaged(fmt.Errorf("%s is missing", name))
		case size != m.Files[name]:
			return nil, m.damaged(fmt.Errorf("%s has %d bytes and had %d", name, size, m.Files[name]))
		}
	}
	return m, nil
}

// noSum stands in the place of the sum while it is computed.
var noSum = strings.Repeat("0", 2*sha256.Size)

// sum is that of a manifest's text which has the sum given.
func sum(text []byte, has string) string {
	hash := sha256.Sum256(bytes.Replace(bytes.TrimSpace(text), sumLine(has), sumLine(noSum), 1))
	return hex.EncodeToString(hash[:])
}

// sumLine is the line of the manifest that has the sum; a name in it could not hold this.
func sumLine(sum string) []byte { return []byte("\n\t\"sum\": \"" + sum + "\"") }

// damaged is the error of a directory that is not as it was written.
func (m *manifest) damaged(err error) error { return fmt.Errorf("%s: %w", m.dir, harmed(err)) }

// harmed is damaged for where the directory is named already.
func harmed(err error) error {
	return fmt.Errorf("it is damaged: %w; the replica's tables are as they were; bring the directory again from where it was made", err)
}

func (m *manifest) close() {
	if m != nil && m.remove != nil {
		_ = m.remove()
	}
}

// sizes are those of the archives' files in a directory.
func sizes(dir string) (map[string]int64, error) {
	all := make(map[string]int64)
	for _, name := range schema.SavedFiles {
		err := filepath.WalkDir(filepath.Join(dir, name), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil {
				path, err = filepath.Rel(dir, path)
				all[filepath.ToSlash(path)] = info.Size()
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// usable looks whether a copy may be written to a directory: there is none, it is empty, or
// it has what a killed command left, which it lists.
func usable(dir string) (left []string, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if !slices.Contains(left, markerFile) {
		if slices.Contains(left, manifestFile) {
			return nil, fmt.Errorf("%s holds a copy already; name another directory, or remove this one", dir)
		}
		return nil, fmt.Errorf("%s is not empty; name a new directory", dir)
	}
	ours := append([]string{manifestFile, writtenFile, markerFile}, schema.SavedFiles...)
	for _, name := range left {
		if !slices.Contains(ours, name) {
			return nil, fmt.Errorf("%s was left by a killed command, and has %s beside; remove it, or name a new directory", dir, name)
		}
	}
	return left, nil
}

// place is a directory that is being written.
type place struct {
	dir    string
	made   bool // by us
	marker *os.File
}

const markerText = "pgshunt feed writes this directory. What is here is not complete.\n"

// occupy makes the directory and marks it. What a killed command left is removed.
func occupy(dir string) (*place, error) {
	left, err := usable(dir)
	if err != nil {
		return nil, err
	}
	p := &place{dir: dir}
	if err := os.Mkdir(dir, 0o700); err == nil {
		p.made = true
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	path := filepath.Join(dir, markerFile)
	if p.marker, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, err
	}
	if err := program.TryLock(p.marker); err != nil {
		_ = p.marker.Close()
		return nil, fmt.Errorf("another pgshunt writes to %s; wait for its end", dir)
	}
	for _, name := range left {
		if name != markerFile {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	if err == nil {
		_, err = p.marker.WriteString(markerText)
	}
	if err != nil {
		return nil, errors.Join(err, p.marker.Close())
	}
	return p, nil
}

// giveUp removes what has been written.
func (p *place) giveUp() {
	for _, name := range append([]string{manifestFile, writtenFile}, schema.SavedFiles...) {
		_ = os.RemoveAll(filepath.Join(p.dir, name))
	}
	_ = os.Remove(filepath.Join(p.dir, markerFile))
	if p.made {
		_ = os.Remove(p.dir)
	}
	_ = p.marker.Close()
}

// complete writes the manifest and takes the marker away.
func (p *place) complete(m *manifest) (err error) {
	if m.Files, err = sizes(p.dir); err != nil {
		return err
	}
	m.Sum = noSum
	text, err := json.MarshalIndent(m, "", "\t")
	if err != nil {
		return err
	}
	text = bytes.Replace(text, sumLine(noSum), sumLine(sum(text, noSum)), 1)
	path := filepath.Join(p.dir, writtenFile)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(string(text) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path, filepath.Join(p.dir, manifestFile)); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(p.dir, markerFile)); err != nil {
		return err
	}
	return p.marker.Close()
}

// command is a program with its arguments as a shell would take them.
func command(name string, args []string) string {
	text := name
	for _, a := range args {
		if strings.ContainsAny(a, " \t\n\"'\\$`*?[]#~<>&|;(){}!") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		text += " " + a
	}
	return text
}
