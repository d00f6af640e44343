package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"time"

	"pgshunt/configs"
	"pgshunt/internal/feedtest"
)

// kill kills pgshunt, the replica and the primary in turn at random points of apply and of
// refresh, runs the command again, and compares.
func (s *story) kill(ctx context.Context) error {
	verbs := slices.DeleteFunc(slices.Clone(s.verbs), func(verb string) bool { return verb == "migrate" })
	if len(verbs) == 0 {
		return nil
	}
	dice := rand.New(rand.NewPCG(s.seed, 0))
	say("killing %d times for each way, seed %d", s.kills, s.seed)
	return s.each(ctx, func(ctx context.Context, r *feedtest.Replica) error {
		length := map[string]time.Duration{}
		for i := range s.kills {
			verb := verbs[i%len(verbs)]
			victim := []string{"pgshunt", r.Name, configs.ToPrimary}[i%3]
			if err := s.prepare(ctx, r, verb); err != nil {
				return err
			}
			if length[verb] == 0 {
				// How long it takes undisturbed says where the points may be.
				began := time.Now()
				if err := s.command(ctx, []string{verb, "--replica", r.Name}); err != nil {
					return err
				}
				length[verb] = time.Since(began)
				if err := s.prepare(ctx, r, verb); err != nil {
					return err
				}
			}
			at := time.Duration(dice.Int64N(int64(length[verb])))
			if err := s.killOnce(ctx, r, verb, victim, at); err != nil {
				return fmt.Errorf("kill %d, %s of %s after %s of %s: %w", i+1, victim, r.Name, at, verb, err)
			}
		}
		return nil
	})
}

// prepare makes a state in which the verb has something to do: without a feed for apply, and
// with one and new rows for refresh.
func (s *story) prepare(ctx context.Context, r *feedtest.Replica, verb string) error {
	if verb == "refresh" {
		if err := s.proof.Apply(ctx, r); err != nil {
			return err
		}
		return s.proof.Write(ctx, s.work, 1, time.Second)
	}
	if err := s.proof.Drop(ctx, r); err != nil {
		return err
	}
	return s.proof.Clear(ctx, r)
}

func (s *story) command(ctx context.Context, args []string) error {
	out, code, err := s.proof.Command(ctx, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d\n%s", code, out)
	}
	return err
}

func (s *story) killOnce(ctx context.Context, r *feedtest.Replica, verb, victim string, at time.Duration) error {
	if _, err := s.kill9(ctx, []string{verb, "--replica", r.Name}, victim, at); err != nil {
		return err
	}
	if err := s.proof.Settle(ctx, r); err != nil {
		return err
	}
	if err := s.proof.Equal(ctx, r); err != nil {
		return err
	}
	if err := s.proof.Verified(ctx, r); err != nil {
		return err
	}
	return s.proof.PrimaryLeft(ctx, s.proof.Replicas...)
}

// kill9 runs a command, kills pgshunt or a server some time after it has begun, brings the server
// back, and runs the command again, which has to succeed. It returns how long the command took
// where it was over before it could be killed, else 0.
func (s *story) kill9(ctx context.Context, args []string, victim string, at time.Duration) (over time.Duration, err error) {
	began := time.Now()
	cmd := exec.CommandContext(ctx, s.pgshunt, feedArgs(s.file, args)...)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	alarm := time.NewTimer(at)
	defer alarm.Stop()
	var ended error
	select {
	case ended = <-done:
		over = time.Since(began)
		say("%s was over before %s", args[0], at)
	case <-alarm.C:
		if victim == "pgshunt" {
			_ = cmd.Process.Kill() // it may have ended this moment
		} else {
			s.proof.Server(victim).Kill()
		}
		ended = <-done
	}
	if victim != "pgshunt" {
		if err := s.proof.Server(victim).Restart(ctx); err != nil {
			return 0, err
		}
	}
	var exit *exec.ExitError
	if ended != nil && !errors.As(ended, &exit) {
		return 0, ended
	}
	if err := s.command(ctx, args); err != nil {
		return 0, fmt.Errorf("%s was killed after %s of %s, and the run after it: %w", victim, at, args[0], err)
	}
	if over == 0 {
		say("%s killed after %s of %s: run again", victim, at.Round(time.Millisecond), args[0])
	}
	return over, nil
}
