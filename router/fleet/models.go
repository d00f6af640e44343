package fleet

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// models are the projects that a replica can answer for. The zero value knows of none.
type models struct {
	mu        sync.Mutex
	known     map[string]bool // nil where the server could not be asked; never changed
	read      time.Time       // when that was
	signature string          // of the deployments then
	expired   bool            // since the last refresh began
}

// modelsAge is how long models are trusted whose deployments seem to be the same.
const modelsAge = 30 * time.Second

const deploymentsQuery = `SELECT concat_ws(' ', count(*), sum(id)) FROM pgml.deployments`

// A project answers with the model deployed last, if that is here with its files.
const modelsQuery = `SELECT p.name FROM pgml.projects p
	CROSS JOIN LATERAL (SELECT model_id FROM pgml.deployments WHERE project_id = p.id ORDER BY created_at DESC LIMIT 1) d
	WHERE EXISTS (SELECT FROM pgml.files f WHERE f.model_id = d.model_id)`

// names are the projects; the map is the caller's to read.
func (m *models) names() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known
}

// expire has the next refresh read everything.
func (m *models) expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expired = true
}

// refresh reads the models if they may have changed. Where pgshunt's role may not see
// them, they are not known.
func (m *models) refresh(ctx context.Context, conn *pgx.Conn) error {
	m.mu.Lock()
	read, signature, expired := m.read, m.signature, m.expired
	m.expired = false
	m.mu.Unlock()

	start := time.Now()
	rows, err := briefly(ctx, conn, deploymentsQuery)
	if err == nil {
		now := rows[0][0]
		if !expired && now == signature && start.Sub(read) < modelsAge {
			return nil
		}
		signature = now
		rows, err = briefly(ctx, conn, modelsQuery)
	}
	switch {
	case busy(err):
		m.expire() // what was read last is as good as anything
		return nil
	case err != nil:
		m.set(nil, "", start)
		return unanswerable(err)
	}
	known := make(map[string]bool, len(rows))
	for _, row := range rows {
		known[row[0]] = true
	}
	m.set(known, signature, start)
	return nil
}

func (m *models) set(known map[string]bool, signature string, read time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || known == nil || !maps.Equal(m.known, known) {
		m.known = known // else the one that snapshots already share
	}
	m.signature, m.read = signature, read
}
