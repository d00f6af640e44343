package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"pgshunt/configs"
	"pgshunt/internal/feedtest"
)

// pgbenchRate is how many transactions a second run while the schema changes: enough that each
// change meets some, and so few that a replica on the same two cores can follow.
const pgbenchRate = 50

// killMigrate kills pgshunt, each replica and the primary in turn at random points of migrate,
// which changes all servers, while pgbench writes, runs the command again, and compares.
func (s *story) killMigrate(ctx context.Context) error {
	dice := rand.New(rand.NewPCG(s.seed, 1))
	for _, r := range s.proof.Replicas {
		if err := s.proof.Apply(ctx, r); err != nil {
			return err
		}
	}
	before, err := s.proof.Untouched(ctx)
	if err != nil {
		return err
	}
	victims := []string{"pgshunt", configs.ToPrimary}
	for _, r := range s.proof.Replicas {
		victims = append(victims, r.Name)
	}
	say("killing %d times while the schema changes, seed %d", s.kills, s.seed)
	var length time.Duration
	for script, kills := 1, 0; kills < s.kills; script++ {
		file, err := feedtest.MigrateFile(s.work, script)
		if err != nil {
			return err
		}
		args := []string{"migrate", "-f", file}
		stop := s.proof.Writers(ctx, pgbenchRate)
		if length == 0 { // how long it takes undisturbed says where the points may be
			began := time.Now()
			err = s.command(ctx, args)
			length = time.Since(began)
		} else {
			var over time.Duration
			at := time.Duration(dice.Int64N(int64(length)))
			if over, err = s.kill9(ctx, args, victims[kills%len(victims)], at); over > 0 {
				length = over // and this one does not count
			} else {
				kills++
			}
		}
		err = errors.Join(err, stop())
		if err == nil {
			err = s.migrated(ctx, before)
		}
		if err != nil {
			return fmt.Errorf("schema change %d: %w", script, err)
		}
	}
	return nil
}

// migrated checks the state after a schema change: every replica has what the primary has, and
// nothing else is anywhere.
func (s *story) migrated(ctx context.Context, before string) error {
	p := s.proof
	if err := s.each(ctx, p.SettleSchema, p.Equal, p.Verified, p.Migrated); err != nil {
		return err
	}
	after, err := p.Untouched(ctx)
	if err == nil && after != before {
		err = fmt.Errorf("tables of the primary that nobody writes to have changed:\n%s\nand were:\n%s", after, before)
	}
	if err != nil {
		return err
	}
	return p.PrimaryLeft(ctx, p.Replicas...)
}
