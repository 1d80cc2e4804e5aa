.PHONY: build check test generate safety bench bench-quick benchmarks fuzz mutants demo release release-check clean

FUZZTIME ?= 1m

# "make build DEVICE_LIST=FILE" builds that device list in.
build: export DEVICE_LIST := $(value DEVICE_LIST)
build:
	scripts/build.sh

# The whole check. .ci/run runs it, and five of the mutants.
check:
	scripts/check.sh

# The tests, without those that take long.
test:
	scripts/in_memory.sh go test -short -p 4 -parallel 4 ./...

# Write what is generated from the code. "make check" fails if it is stale.
generate:
	go test ./internal/config -run '^TestGenerated$$' -update
	go test ./internal/outage -run '^TestReasons$$' -update
	go test ./cmd/quell -run '^TestGenerated$$' -update

# Measure evidence in nights that are made up, and write docs/outage-safety.md. make safety
# FLAGS="--homes 20000" does less, in minutes.
safety:
	go run ./cmd/quell simulate --report docs $(FLAGS)

# Measure quell beside other proxies, and write docs/performance.md. As root on Debian or
# Ubuntu it installs what is missing. make bench ROWS="1 3" measures these rows only. make
# bench FLAGS=-h lists the flags.
bench:
	scripts/bench.sh $(FLAGS) $(ROWS)

# The most important rows in less than two minutes. It writes no file.
bench-quick:
	scripts/bench.sh -quick $(FLAGS) $(ROWS)

# The Go benchmarks of packages. With a BASE also those of that revision, in turn, and
# benchstat compares both: make benchmarks BASE=origin/main PACKAGES=./internal/hubs. In
# the environment, BENCH says which of them, COUNT how often, TIME how long.
benchmarks:
	scripts/benchmarks.sh "$(BASE)" $(PACKAGES)

fuzz:
	scripts/fuzz.sh $(FUZZTIME)

# Break the code in the ways that testdata/mutants has: a test must notice each.
mutants:
	scripts/in_memory.sh scripts/mutants.sh

demo:
	go run ./cmd/quell demo

# make release VERSION=1.2.3 makes the files of a release in dist; DEVICE_LIST as above.
release: export DEVICE_LIST := $(value DEVICE_LIST)
release:
	cd release && go run . $(VERSION)

# Checks what release makes, as root on Debian.
release-check:
	scripts/release_check.sh

clean:
	rm -rf bin dist
