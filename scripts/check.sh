#!/usr/bin/env bash
# The whole check of the project. It installs what the tests need and the machine
# lacks. Then it checks form, dependencies and behaviour. With CI=true nothing may
# be left out: a missing tool and a skipped test are failures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What the tests run: a command, and the Debian packages that have it.
needs() {
	cat <<-END
		git git
		gcc gcc libc6-dev
		curl curl
		sshd openssh-server openssh-client
		pg_ctlcluster postgresql
		haproxy haproxy
		systemd-analyze systemd procps
		etcd etcd-server
		patroni patroni python3-etcd
		pgbouncer pgbouncer
		xmllint libxml2-utils
		strace strace
		wrk wrk
		openssl openssl
		promtool prometheus
		chromium chromium
		chromedriver chromium-driver
		npm npm
	END
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=()

say() { printf '\n== %s\n' "$*"; }

# loudly says that a part of the check is left out.
loudly() { printf '\n!! %s\n!! NOT CHECKED: %s\n\n' "$1" "$2" >&2; }

# run says what it runs, runs it, and remembers what failed.
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

# axe fetches what the tests of the console look for faults with, see scripts/axe.sh.
axe() {
	scripts/axe.sh && return 0
	loudly "axe-core could not be fetched" "the pages of the console in a browser"
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

# vulnerable looks for known vulnerabilities in what the code calls. It needs the
# vulnerability database. Without a network it cannot say anything.
vulnerable() {
	timeout 120 go tool govulncheck ./... >"$work/vulncheck" 2>&1 && return 0
	local status=$?
	cat "$work/vulncheck"
	[[ $status == 124 ]] || grep -q 'fetching vulnerabilities' "$work/vulncheck" || return 1
	loudly "the vulnerability database is out of reach" "known vulnerabilities"
}

# unwatched lists the packages that are not watched for data races: C translated to Go, that
# is SQLite, its C library, and what allocates their memory. That code is not ours, and it would
# take six times as long.
unwatched=(modernc.org/sqlite/lib modernc.org/libc modernc.org/memory)

# alone lists packages that compute much in one goroutine: neither they, as their tests use them,
# nor their tests start another. So there is nothing for the race detector to find there, and
# without it they take a sixth of the time. Where other packages use them, they are watched.
# Tests in files that are not built for the race detector compute much in one goroutine too, or name
# a shorter test that goes the same way under it.
alone=(quell/internal/nation quell/internal/evidence quell/internal/advice quell/internal/xmldsig)

# shared_code makes sure that the compiled unwatched packages have code of their own only.
# The linker keeps one copy of a generic function that several packages use. If it were an
# unwatched copy, say of the tree inside sync.Map, the detector would not see what that
# function synchronises, and would report races that are none.
shared_code() {
	local package
	for package in "${unwatched[@]}"; do
		go tool nm "$(go list "$@" -export -f '{{.Export}}' "$package")" |
			awk -v own="$package." 'tolower($2) == "t" && index($3, own) != 1 && $3 !~ /^type:/ { print own " has " $3; shared = 1 } END { exit shared }' || return
	done
}

# bench checks the module that measures.
bench() {
	local staticcheck
	staticcheck=$(go tool -n staticcheck) && (cd bench && go vet ./... && "$staticcheck" ./... && go test ./...)
}

# tests runs all tests. "go vet" has looked at them already.
tests() {
	local race=(-race) package watched unbuilt names
	for package in "${unwatched[@]}"; do race+=("-gcflags=$package=-race=false"); done
	command -v gcc >/dev/null || { loudly "no gcc" "data races"; race=(); }
	[[ ${#race[@]} == 0 ]] || shared_code "${race[@]}" || return
	watched=$(go list ./... | grep -vxF "$(printf '%s\n' "${alone[@]}")") || return
	mapfile -t unbuilt < <(grep -rlx --include='*_test.go' '//go:build !race' ./cmd ./internal)
	names=$(sed -n 's/^func \(Test[^(]*\).*/\1/p' "${unbuilt[@]}" | paste -sd '|') || return
	# Tests wait more than they compute, so more of them, and of packages, run at once than there are cores.
	# The packages that take longest begin first.
	local flags=(-vet=off -shuffle=on -p 3 -parallel 4 -timeout 12m -v) status=0
	{
		scripts/in_memory.sh go test "${race[@]}" "${flags[@]}" ./cmd/quell ./internal/{ledger,store,replay,motorway,web,windows,storecopy,remote} $watched || status=1
		scripts/in_memory.sh go test "${flags[@]}" "${alone[@]}" || status=1
		scripts/in_memory.sh go test "${flags[@]}" -run "^($names)\$" $(dirname "${unbuilt[@]}" | sort -u) || status=1
		[[ $status == 0 ]]
	} 2>&1 | awk -v ci="${CI:-}" -f scripts/gotest.awk
}

run "install what the tests need" install_needs
run "fetch axe-core" axe
run "gofmt" formatted
run "go vet" go vet ./...
run "staticcheck" go tool staticcheck ./...
run "go mod tidy" tidy
run "govulncheck" vulnerable
run "bench" bench
run "go test" tests

if [[ ${#failed[@]} -gt 0 ]]; then
	say "FAILED: $(IFS=,; echo "${failed[*]}")"
	exit 1
fi
say "all is well"
