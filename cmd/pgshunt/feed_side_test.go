package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"pgshunt/configs"
	"pgshunt/internal/feedtest"
)

// inProcess runs `pgshunt feed` here, with flags and all.
func inProcess(file string) func(context.Context, ...string) (string, int, error) {
	return func(ctx context.Context, args ...string) (string, int, error) {
		root := &cobra.Command{Use: "pgshunt", SilenceErrors: true, SilenceUsage: true}
		root.AddCommand(feedCommand())
		root.SetArgs(append([]string{"feed", args[0], "-c", file}, args[1:]...))
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		err := root.ExecuteContext(ctx)
		var status exitStatus
		if errors.As(err, &status) {
			return out.String(), int(status), nil
		}
		return out.String(), 0, err
	}
}

// The three ways that can be run here, each on a replica of its own, all from one primary. The
// program feedproof does the same with a lot of data, and kills.
func TestFeedsSideBySide(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	rig, err := feedtest.Start(ctx, t.TempDir(), feedtest.Options{}, configs.FeedDump, configs.FeedFDW, configs.FeedLogical)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rig.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := rig.Fill(ctx, feedtest.Sizes{Scale: 1, Wide: 100, Toast: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pgshunt.yaml")
	if err := os.WriteFile(file, []byte(rig.Config()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &feedtest.Proof{Rig: rig, Command: inProcess(file), Say: t.Logf}
	each := func(what string, do func(context.Context, *feedtest.Replica) error) {
		t.Helper()
		var work sync.WaitGroup
		for _, r := range rig.Replicas {
			work.Go(func() {
				if err := do(ctx, r); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			})
		}
		work.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	each("remedies", func(ctx context.Context, r *feedtest.Replica) error {
		_, err := p.Remedy(ctx, r)
		return err
	})
	each("print", p.Printed)
	each("apply", p.Apply)
	each("equal", p.Equal)
	each("apply again", p.Again)
	if err := p.Write(ctx, t.TempDir(), 1, time.Second); err != nil {
		t.Fatal(err)
	}
	each("settle", p.Settle)
	each("equal after writes", p.Equal)
	each("verify", p.Verified)
	if err := p.PrimaryLeft(ctx, rig.Replicas...); err != nil {
		t.Error(err)
	}

	cfg, err := configs.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	srv, err := startServing(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(feedtest.User, feedtest.Password), Host: srv.addr.String(), Path: feedtest.Database, RawQuery: "sslmode=disable"}
	each("train", func(ctx context.Context, r *feedtest.Replica) error { return p.Train(ctx, u.String(), r) })
	srv.close(time.Second)

	each("drop", p.Drop)
	if err := p.PrimaryLeft(ctx); err != nil {
		t.Error(err)
	}
	if names, err := rig.LogsWithPassword(); err != nil || len(names) > 0 {
		t.Errorf("the password is in logs of %q, %v", names, err)
	}
}
