.DEFAULT_GOAL := help
.PHONY: help build demo test race regress versions feeds fuzz soak bench lint fmt setup

LINT := go tool -modfile=tools/go.mod golangci-lint

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

build: ## bin/pgshunt
	go build -trimpath -o bin/pgshunt ./cmd/pgshunt

demo: setup build ## the whole story on this machine (ONCE=1 ends after it)
	bin/pgshunt demo

test: ## all tests, on real PostgreSQL servers, a package at a time: each keeps all processors busy
	scripts/install-postgresql python3-psycopg && go test -p 1 -timeout 30m $(TESTFLAGS) ./...

race: ## all tests under the race detector
	scripts/install-postgresql python3-psycopg && go test -race -timeout 60m $(TESTFLAGS) ./...

regress: setup build ## PostgreSQL's own regression suite through pgshunt (REGRESSFLAGS=-rounds=3)
	scripts/install-postgresql make perl && go run ./regress $(REGRESSFLAGS)

versions: setup ## the tests on PostgreSQL 13, 15, 17 and 18, and on pairs of them (VERSIONSFLAGS="-suites sid ./proxy")
	go run ./versions $(VERSIONSFLAGS)

feeds: setup build ## all feeds on real servers, at scale 50 and with 1 GB out of line (FEEDSFLAGS="-scale 1 -kills 20")
	scripts/install-postgresql && go run ./feedproof $(FEEDSFLAGS)

fuzz: setup ## each fuzz target for FUZZTIME (30s)
	scripts/fuzz

soak: setup ## random scripts against PostgreSQL, 200 clients with checksums, 16 that read their writes, for SOAK (10m) each
	PGSHUNT_SOAK=$(or $(SOAK),10m) go test ./proxy -v -timeout 0 -run '^(TestLikePostgreSQL|TestSoak|TestReadYourWrites)$$'

bench: setup build ## pgshunt beside a direct connection, pgbouncer, pgpool and haproxy (BENCHFLAGS="-rounds 2")
	scripts/install-postgresql pgbouncer pgpool2 haproxy && go run ./bench $(BENCHFLAGS)

lint: setup ## the linters, and the arrows between packages
	$(LINT) run ./...

fmt: ## format everything
	$(LINT) fmt ./...

setup: # PostgreSQL and a C compiler, where they are missing
	@scripts/install-postgresql
