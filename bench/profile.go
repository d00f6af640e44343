package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// load is what -profile runs: a protocol and a number of clients.
type load struct {
	protocol string
	clients  int
}

// parseLoad reads such as prepared:8.
func parseLoad(text string) (load, error) {
	protocol, number, ok := strings.Cut(text, ":")
	if !ok {
		return load{}, fmt.Errorf("%q is not such as prepared:8", text)
	}
	protocols, err := parseProtocols(protocol)
	if err != nil {
		return load{}, err
	}
	clients, err := parseClients(number)
	if err != nil {
		return load{}, err
	}
	if len(protocols) != 1 || len(clients) != 1 {
		return load{}, fmt.Errorf("%q: one protocol, one number of clients", text)
	}
	return load{protocols[0], clients[0]}, nil
}

// profile runs a load over pgshunt, all rounds in one, and has it write its CPU profile
// to o.out as it ends.
func profile(ctx context.Context, o options) (err error) {
	r, err := newRig(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	shunt := r.named(shuntName)[0]
	res, err := r.runPgbench(ctx, shunt, database, o.rounds*o.seconds, "-M", o.profile.protocol, "-c", strconv.Itoa(o.profile.clients))
	if err != nil {
		return err
	}
	used, err := shunt.proc.cpuTime()
	if err != nil {
		return err
	}
	shunt.proc.stop()
	info, err := os.Stat(o.out)
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return fmt.Errorf("pgshunt has written nothing to %s", o.out)
	}
	progress("%.0f tps, CPU %.1f µs/txn with the logins", res.tps, used.Seconds()*micro/float64(res.transactions))
	progress("go tool pprof -top %s %s", o.pgshunt, o.out)
	return nil
}
