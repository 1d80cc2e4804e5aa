#!/usr/bin/env bash
# The whole check of the project. Installs what the tests need and the machine
# lacks, then checks form, dependencies and behaviour. Under CI=true nothing
# may be left out: what is missing, and a test that is skipped, is a failure.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What the tests run: a command, and the Debian packages that it comes from.
needs() {
	cat <<-END
		git git
		gcc gcc libc6-dev
		sshd openssh-server openssh-client
		pg_ctlcluster postgresql
		haproxy haproxy
		systemd-analyze systemd procps
		etcd etcd-server
		patroni patroni python3-etcd
		pgbouncer pgbouncer
		xmllint libxml2-utils
	END
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=()

say() { printf '\n== %s\n' "$*"; }

# loudly says that something of the check is left out.
loudly() { printf '\n!! %s\n!! NOT CHECKED: %s\n\n' "$1" "$2" >&2; }

# run says what it runs, and remembers what failed.
run() {
	say "$1"
	"${@:2}" || failed+=("$1")
}

install_needs() {
	local command packages missing=() wanted=()
	while read -r command packages; do
		command -v "$command" >/dev/null && continue
		missing+=("$command")
		read -ra packages <<<"$packages"
		wanted+=("${packages[@]}")
	done < <(needs)
	[[ ${#missing[@]} -gt 0 ]] || return 0
	say "install: ${wanted[*]}"
	if [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq </dev/null &&
			apt-get install -qq -y --no-install-recommends "${wanted[@]}" </dev/null >"$work/apt" 2>&1 && return 0
		cat "$work/apt" >&2 || true
	fi
	loudly "missing: ${missing[*]}" "what needs them; on Debian or Ubuntu they are in: ${wanted[*]}"
	[[ ${CI:-} != true ]]
}

formatted() {
	local files
	files=$(gofmt -l .) && [[ -z $files ]] || { printf 'not formatted:\n%s\n' "$files"; return 1; }
}

tidy() {
	go mod tidy -diff >"$work/tidy" 2>&1 && return 0
	cat "$work/tidy"
	grep -q '^diff ' "$work/tidy" && return 1
	loudly "go mod tidy could not tell, see above" "whether go.mod is tidy"
}

# vulnerable looks for known vulnerabilities in what the code calls. Without
# the database, as on a machine off the network, nothing can be said.
vulnerable() {
	timeout 120 go tool govulncheck ./... >"$work/vulncheck" 2>&1 && return 0
	local status=$?
	cat "$work/vulncheck"
	[[ $status == 124 ]] || grep -q 'fetching vulnerabilities' "$work/vulncheck" || return 1
	loudly "the vulnerability database is out of reach" "known vulnerabilities"
}

# SQLite, which is C made Go, is not watched for data races: that is not our business,
# and it would take six times as long.
tests() {
	local race=(-race '-gcflags=modernc.org/...=-race=false')
	command -v gcc >/dev/null || { loudly "no gcc" "data races"; race=(); }
	# Tests that say t.Parallel wait more than they compute: more of them at once than there are cores.
	# The two packages that take longest begin first.
	go test "${race[@]}" -shuffle=on -parallel 4 -timeout 12m -v ./internal/store ./cmd/quell ./... 2>&1 | awk -v ci="${CI:-}" -f scripts/gotest.awk
}

run "install what the tests need" install_needs
run "gofmt" formatted
run "go vet" go vet ./...
run "staticcheck" go tool staticcheck ./...
run "go mod tidy" tidy
run "govulncheck" vulnerable
run "go test" tests

if [[ ${#failed[@]} -gt 0 ]]; then
	say "FAILED: $(IFS=,; echo "${failed[*]}")"
	exit 1
fi
say "all is well"
