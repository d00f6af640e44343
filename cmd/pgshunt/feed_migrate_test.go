package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

// What makes no sense is said before a server is asked.
func TestMigrateSaysWhatMakesNoSense(t *testing.T) {
	for _, c := range []struct {
		opts   feedOptions
		own    migrateOptions
		script string
		want   string
	}{
		{opts: feedOptions{replicas: []string{"ml1"}}, want: "concerns every replica"},
		{own: migrateOptions{file: "-"}, script: "ALTER TABLE t ADD a int; NONSENSE", want: "statement 2 cannot be read"},
		{own: migrateOptions{file: "/nowhere.sql"}, want: "no such file"},
	} {
		var out, errs bytes.Buffer
		err := runFeedMigrate(context.Background(), c.opts, c.own, feedStreams{in: strings.NewReader(c.script), out: &out, err: &errs})
		var status exitStatus
		if !errors.As(err, &status) || status != exitUsage || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%+v: %v, %q", c.own, err, errs.String())
		}
	}
}
