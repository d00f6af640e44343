package migrate

import (
	"testing"

	"pgshunt/configs"
)

// changesUnderLoad are the changes that replication must not notice.
const changesUnderLoad = `
	ALTER TABLE docs ADD COLUMN score numeric(10,2) NOT NULL DEFAULT 1.5, ADD flag boolean;
	CREATE TYPE mood AS ENUM ('glad', 'sad');
	ALTER TABLE docs ADD mood mood DEFAULT 'sad';
	ALTER TYPE mood ADD VALUE 'so so' BEFORE 'sad';
	ALTER TABLE docs ADD made timestamptz NOT NULL DEFAULT now(), ADD day date DEFAULT (now() AT TIME ZONE 'utc')::date;
	UPDATE docs SET day = NULL WHERE id % 7 = 0;
	ALTER TABLE docs DROP COLUMN extra;
	ALTER TABLE docs RENAME body TO content;
	ALTER TABLE docs ALTER n TYPE bigint;
	ALTER TABLE docs ALTER code TYPE varchar(30);
	CREATE TABLE fresh (id int PRIMARY KEY, at timestamptz DEFAULT now(), mood mood);
	INSERT INTO fresh SELECT i FROM generate_series(1, 50) i;
	CREATE INDEX docs_code ON docs (code);
	ALTER TABLE docs ALTER flag SET DEFAULT false;
	ALTER TABLE other ALTER v SET NOT NULL;
	ALTER TABLE other RENAME TO others;
	ALTER TABLE others RENAME id TO key;
	UPDATE others SET v = v || '!';
	ALTER TABLE fresh ADD CONSTRAINT young CHECK (at > '2020-01-01');
	DROP TABLE fresh`

func TestReplicationNeverBreaksUnderLoad(t *testing.T) {
	g := newRig(t, configs.FeedLogical, "")
	stop := g.writer()
	g.moves()
	if err := g.migrate(changesUnderLoad); err != nil {
		t.Fatal(err)
	}
	g.moves()
	t.Logf("%d statements meanwhile", stop())
	g.equal()
	if err := g.migrate(changesUnderLoad); err != nil {
		t.Errorf("a second run does not find everything done: %v", err)
	}
	g.equal()
}
