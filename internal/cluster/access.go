package cluster

import (
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
)

// Dir is the directory that holds everything the cluster has written.
func (c *Cluster) Dir() string { return c.dir }

// SocketDir is the directory of the Unix socket, as libpq's host parameter takes it.
func (c *Cluster) SocketDir() string { return c.socketDir }

// URL is a connection string over TCP, without TLS.
func (c *Cluster) URL(user, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User(user), Path: "/" + database,
		Host: "127.0.0.1:" + strconv.Itoa(c.Port), RawQuery: "sslmode=disable",
	}
	return u.String()
}

// SocketURL is a connection string over the Unix socket. The superuser gets in
// this way whatever Config.HBA says.
func (c *Cluster) SocketURL(user, database string) string {
	q := url.Values{"host": {c.socketDir}, "port": {strconv.Itoa(c.Port)}, "user": {user}}
	u := url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: q.Encode()}
	return u.String()
}

// Superuser is the name of the role that initdb made.
func (c *Cluster) Superuser() string { return c.cfg.Superuser }

// LogPath is the file that the server logs to; it grows over restarts.
func (c *Cluster) LogPath() string { return filepath.Join(c.dir, "postgres.log") }

// Log is the server's log so far.
func (c *Cluster) Log() (string, error) {
	b, err := os.ReadFile(c.LogPath())
	return string(b), err
}

// LogSize is how long the server's log is now.
func (c *Cluster) LogSize() (int64, error) {
	info, err := os.Stat(c.LogPath())
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// LogFrom is the server's log from an offset on.
func (c *Cluster) LogFrom(offset int64) (string, error) {
	f, err := os.Open(c.LogPath())
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return "", err
	}
	b, err := io.ReadAll(f)
	return string(b), err
}

// logTail is the end of the log as an addition to an error message.
func (c *Cluster) logTail() string {
	log, err := c.Log()
	if err != nil || log == "" {
		return ""
	}
	const most = 2000
	if len(log) > most {
		log = "..." + log[len(log)-most:]
	}
	return "\nserver log:\n" + log
}
