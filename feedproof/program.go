package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"regexp"
	"syscall"

	"pgshunt/internal/feedtest"
)

// program runs `pgshunt feed` with a configuration.
func program(pgshunt, file string) func(context.Context, ...string) (string, int, error) {
	return func(ctx context.Context, args ...string) (string, int, error) {
		cmd := exec.CommandContext(ctx, pgshunt, feedArgs(file, args)...)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Exited() {
			return out.String(), exit.ExitCode(), nil
		}
		return out.String(), 0, err
	}
}

func feedArgs(file string, args []string) []string {
	return append([]string{"feed", args[0], "-c", file}, args[1:]...)
}

// serve starts a proxy and returns its connection string, once it listens. stop ends it.
func serve(ctx context.Context, pgshunt, file string) (string, func(), error) {
	cmd := exec.CommandContext(ctx, pgshunt, "serve", "-c", file)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = cmd.Wait()                          // of interest is what its clients saw
	}
	lines := bufio.NewScanner(stderr)
	listens := regexp.MustCompile(`127\.0\.0\.1:[1-9][0-9]*`)
	for lines.Scan() {
		line := lines.Text()
		if !regexp.MustCompile(`serving|listening`).MatchString(line) {
			continue
		}
		if address := listens.FindString(line); address != "" {
			go func() {
				for lines.Scan() { // so that it never waits for a reader
				}
			}()
			u := url.URL{Scheme: "postgres", User: url.UserPassword(feedtest.User, feedtest.Password), Host: address, Path: feedtest.Database, RawQuery: "sslmode=disable"}
			return u.String(), stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("%s serve does not say where it listens", pgshunt)
}
