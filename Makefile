.PHONY: build check test generate bench fuzz demo clean

FUZZTIME ?= 10s

# make build DEVICE_LIST=FILE builds that device list in.
build: export DEVICE_LIST := $(value DEVICE_LIST)
build:
	scripts/build.sh

# The whole check; .ci/run runs exactly this.
check:
	scripts/check.sh

test:
	go test ./...

# Write what is generated from the code; check fails when it is stale.
generate:
	go test ./internal/config -run '^TestGenerated$$' -update
	go test ./internal/outage -run '^TestReasons$$' -update

bench:
	go test -run '^$$' -bench . -benchmem ./...

fuzz:
	scripts/fuzz.sh $(FUZZTIME)

demo:
	go run ./cmd/quell demo

clean:
	rm -rf bin
