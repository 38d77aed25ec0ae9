# `make` alone lists the targets. Each checks first that the machine has what it needs: see scripts/preflight.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test test-all test-matrix soak bench lint

# make run: where the first proxy listens (every other port follows), where the data lives, how many proxies.
LISTEN ?= 127.0.0.1:2379
DATA_DIR ?= ./data
PROXIES ?= 1
# make run: no, to begin with every route on one shard (docs/migration.md splits them).
SPLIT ?= yes
# make test: the Kubernetes minors to test with; the newest when empty.
KUBE ?=
# make soak: how long it runs.
MINUTES ?= 15
# make bench: what to measure (etcd-prism-bench ladder --help).
ARGS ?=

export LISTEN DATA_DIR PROXIES

kube_minors = $(shell scripts/tool --list | sed -n 's/^kube-apiserver@\([0-9]*\.[0-9]*\)\..*/\1/p')
comma := ,
empty :=
all_kube = $(subst $(empty) $(empty),$(comma),$(kube_minors))
newest_kube = $(firstword $(kube_minors))

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

run: ## start four etcd shards and the proxy (LISTEN=127.0.0.1:2379 DATA_DIR=./data PROXIES=1 SPLIT=yes)
	@scripts/preflight run
	cargo build --profile quick -p etcd-prism
	@export ETCD_PRISM_ETCDCTL="$$(scripts/tool etcdctl)"; etcd="$$(scripts/tool etcd)"; \
	exec cargo run --quiet --profile quick -p etcd-prism -- playground \
	  --listen "$(LISTEN)" --data-dir "$(DATA_DIR)" --proxies "$(PROXIES)" --etcd "$$etcd" $(if $(filter no,$(SPLIT)),--unsplit)

# The tests start the binary from the build folder. Building it together with them, in one command, builds it with the
# same features of every dependency, so that nothing is compiled twice.
build_tests = cargo build --workspace --bins --tests

test: export ETCD_PRISM_KUBE = $(or $(KUBE),$(newest_kube))
test: ## all tests, with one Kubernetes minor (KUBE=1.37)
	@scripts/preflight test
	$(build_tests)
	cargo test --workspace --no-fail-fast

test-all: export ETCD_PRISM_KUBE = $(all_kube)
test-all: ## all tests and the long ones, with every Kubernetes minor
	@scripts/preflight test-all
	$(build_tests)
	cargo test --workspace --no-fail-fast -- --include-ignored

test-matrix: ## every step of a migration with every fault (MATRIX=seal MATRIX_JOBS=3)
	@scripts/preflight test
	$(build_tests)
	cargo test -p etcd-prism-tests --test migrate -- --ignored --nocapture every_step_with_every_fault

soak: export ETCD_PRISM_KUBE = $(all_kube)
soak: ## API servers of both minors at work over four shards (MINUTES=15)
	@scripts/preflight soak
	cargo build --profile quick -p etcd-prism -p etcd-prism-tests --bins
	@exec "$${CARGO_TARGET_DIR:-target}/quick/soak" --minutes "$(MINUTES)"

bench: ## etcd-prism against etcd itself, a TCP splice, nginx and etcd grpc-proxy (ARGS="--rounds 1 --works range")
	cargo build --release -p etcd-prism -p etcd-prism-bench
	@etcd="$$(scripts/tool etcd)"; \
	exec "$${CARGO_TARGET_DIR:-target}/release/etcd-prism-bench" ladder --etcd "$$etcd" $(ARGS)

lint: ## broken builds still apply, formatting, clippy, docs, licences and bans
	@scripts/preflight lint
	@for patch in tests/broken/*.patch; do git apply --check "$$patch" || exit 1; done
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	"$$(scripts/tool cargo-deny)" check bans licenses sources
