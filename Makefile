# The workshop's commands. Every target works over all modules; `make help`
# lists them. Only Go is needed: the tools are built from tools/go.mod, whose
# versions are pinned, into bin/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# A number of inputs and not a time: when time is over, Go before 1.27 may call
# that a failure (golang/go#75804).
FUZZTIME ?= 200000x
BENCH    ?= .
SOAK     ?= 20m
BIN      := $(CURDIR)/bin

# Every module that holds packages; the root comes first. tools/ only pins.
MODULES := . $(sort $(patsubst ./%/go.mod,%,$(shell find . -mindepth 2 -name go.mod -not -path './tools/*' -not -path '*/testdata/*')))

# The race detector needs a C compiler on Linux. Without one the same tests run
# without it, and say so.
RACE := $(if $(shell command -v gcc || command -v clang || command -v cc),-race,)

# $(call each,title,command) runs a command in every module.
each = for m in $(MODULES); do echo "-- $$(date +%T) $(1): $$m"; (cd "$$m" && $(2)); done

# The toolchain for *_go127.go, where methods have type parameters: the one at hand
# if it is new enough, else the one that tools/go.mod names if it is installed or
# can be downloaded, else none. go.mod asks for an older Go, which leaves these files
# out and cannot parse them; so the tools are built with this one.
PINNED := $(shell awk '$$1 == "toolchain" { print $$2 }' tools/go.mod)
NEWER   = $(shell if go list -f '{{context.ReleaseTags}}' ./streams | grep -qw 'go1\.27'; then echo local; \
	elif GOTOOLCHAIN=$(PINNED) go version >/dev/null 2>&1; then echo $(PINNED); fi)

# newer_tools succeeds if they were.
newer_tools = $(BIN)/gofumpt -l streams/methods_go127.go >/dev/null 2>&1

# sources lists every Go file that gofumpt can parse.
sources = if $(newer_tools); then find . -name '*.go' -print0; else \
		echo 'NO $(PINNED) when the tools were built: the format of *_go127.go is not looked at (later: make -B bin/staticcheck)' >&2; \
		find . -name '*.go' -not -name '*_go127.go' -not -name '*_go127_test.go' -print0; fi

# The module as its users build it: alone, without the workspace.
alone = $$([ "$$m" = . ] && echo off)

.PHONY: help check test race newer torture exactly sim soak flips mutants kafkadump lint golangci format fuzz bench size modules release

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

check: lint newer modules race size ## Everything that CI holds a change to
	@$(MAKE) --no-print-directory release VERSION=v0.0.1-check DRY=1

test: ## Run the tests of every module
	@$(call each,test,GOWORK=$(alone) go test ./...)

race: ## Run the tests of every module under the race detector
	@$(if $(RACE),,echo 'NO C COMPILER: the tests run without the race detector')
	@$(call each,race,GOWORK=$(alone) go test -timeout 20m $(RACE) ./...)

newer: $(BIN)/staticcheck ## Vet and test what only a newer Go builds: the methods of package streams that make a chain
	@export GOTOOLCHAIN=$(NEWER) GOWORK=off; set -- ./streams/... ./examples/wordcount/...; \
	if [ -z "$$GOTOOLCHAIN" ]; then echo "NO $(PINNED), here or for download: *_go127.go are neither vetted nor tested in $$*"; exit; fi; \
	echo "-- $$(date +%T) vet with $$(go env GOVERSION): $$*"; go vet "$$@"; \
	if $(newer_tools); then echo "-- $$(date +%T) staticcheck with $$(go env GOVERSION): $$*"; $(BIN)/staticcheck "$$@"; fi; \
	echo "-- $$(date +%T) test with $$(go env GOVERSION): $$*"; go test "$$@"

torture: ## Torment a log on a failing disk, and random topologies beside it, from random seeds, until something is wrong or it is stopped
	@go test -c -o $(BIN)/torture-log.test . && go test -c -o $(BIN)/torture-streams.test ./streams
	@(cd streams && exec $(BIN)/torture-streams.test -test.run TestRandomTopologies -torture.on) & \
		beside=$$!; trap "kill $$beside 2>/dev/null" EXIT; \
		$(BIN)/torture-log.test -test.run TestTorture -torture.on

exactly: ## Run pipelines of transactions on 300 simulated disks that lose power, and in processes that are killed, and on nodes that die: each input has its result once, in order
	@go test -count=1 -timeout 0 -run TestPipelineOnDisksThatLosePower . -exactly.seeds 300
	@go test -count=1 -timeout 0 -v -run TestPipelineOfKilledProcesses ./internal/processtest -exactly.records 200000 -exactly.kills 40
	@go test -count=1 -timeout 0 -v -run TestPipelineOfKilledNodes ./internal/processtest -exactly.nodes.records 20000 -exactly.nodes.kills 20
	@go test -count=1 -timeout 0 -run TestPipelineOnNodesThatDie ./replica/replicatest -exactly.seeds 100

sim: ## Simulate groups of replicas under faults, from a random seed, until something is wrong or it is stopped; SEEDS=200 runs the first so many
	@go test -c -o $(BIN)/sim.test ./replica && cd replica; \
		sim() { $(BIN)/sim.test -test.timeout 0 -test.run 'TestSimulation$$' -sim.time 120s "$$@"; }; \
		if [ -z '$(SEEDS)' ]; then sim -sim.on; exit; fi; \
		half=$$(($(SEEDS) / 2)); sim -sim.first 1 -sim.seeds $$half & \
		sim -sim.first $$((half + 1)) -sim.seeds $$(($(SEEDS) - half)); second=$$?; wait $$! && exit $$second

soak: ## Torment three real processes for SOAK (20m): kill, stop and cut them off, fill their disks; nothing acknowledged is lost, nothing is twice
	@go test -count=1 -timeout 0 -v ./internal/processtest -soak $(SOAK)

flips: ## Invert the bits of every kind of file and of every header, far more than the tests do (an hour or more)
	@go test -timeout 0 -run 'Flip|VerifyEverywhere' -v . ./log -every

mutants: ## Plant bugs one at a time and run what should catch each (minutes; ONLY=regexp plants some, V=1 shows why one survived)
	@go run ./internal/mutants -only '$(ONLY)' $(if $(V),-v)

kafkadump: ## Have Kafka's kafka-dump-log read what is written, and compare with what it read before (Java and Maven)
	@tools/kafkadump

lint: $(BIN)/staticcheck ## Check formatting, go vet and staticcheck (the house's own rules are tests: internal/lint)
	@echo '-- format'
	@out=$$({ $(sources); } | xargs -0 $(BIN)/gofumpt -l); \
		if [ -n "$$out" ]; then printf 'not formatted, run make format:\n%s\n' "$$out"; exit 1; fi
	@$(call each,vet,GOWORK=$(alone) go vet ./...)
	@$(call each,staticcheck,GOWORK=$(alone) $(BIN)/staticcheck ./...)

golangci: ## Run golangci-lint, pinned, by .golangci.yml (builds it from source: minutes the first time)
	@$(call each,golangci,go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0 run ./...)

format: $(BIN)/staticcheck ## Format every Go file
	@{ $(sources); } | xargs -0 $(BIN)/gofumpt -w

fuzz: ## Run every fuzz target with FUZZTIME inputs (200000x)
	@$(call each,fuzz,for pkg in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$pkg"; \
		done; done)

bench: ## Run the benchmarks that match BENCH (all) in every module; the comparison is `go run ./bench`
	@$(call each,bench,go test -run '^$$' -bench '$(BENCH)' -benchmem ./...)

size: ## Show what runnel.Open adds to programs, in bytes and modules; fails beyond the limits
	@tools/size

modules: ## Check that go.mod is tidy (of the other published modules, release does) and every download is what go.sum says
	@for m in . bench; do echo "-- $$(date +%T) tidy: $$m"; (cd "$$m" && GOWORK=off go mod tidy -diff); done
	@echo "-- $$(date +%T) verify" && go mod verify

release: ## Release VERSION (v0.1.0): commit, tag, and try it from a proxy in bin/proxy; with DRY=1 only there, of the tree as it is
	@tools/release $(VERSION) $(if $(DRY),dry)

$(BIN)/staticcheck: tools/go.mod tools/go.sum
	@echo '-- building the tools (once)'
	@cd tools && GOTOOLCHAIN=$(or $(NEWER),local) GOWORK=off GOBIN=$(BIN) go install tool
	@touch $@
