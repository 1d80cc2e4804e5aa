#!/usr/bin/env bash
# benchmarks.sh [BASE] [PACKAGE...] runs the Go benchmarks of packages. With a BASE, such
# as origin/main, it runs those of that revision too, in turn with these, and compares both
# with benchstat. Figures of two machines, or of two days, cannot be compared.
# COUNT is how often each runs (6), TIME how long or how many times (go test -benchtime),
# BENCH which (go test -bench). What needs minutes to prepare is left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
base=${1:-}
packages=("${@:2}")
[[ ${#packages[@]} -gt 0 ]] || packages=(./internal/duis ./internal/hubs ./internal/motorway ./internal/gateway ./internal/ledger ./internal/passed ./internal/xmldsig)

work=$(mktemp -d)
clean() {
	[[ ! -d $work/base ]] || git worktree remove --force "$work/base"
	rm -rf "$work"
}
trap clean EXIT
trap 'exit 130' INT TERM

# build DIR NAME compiles the tests of the packages in a work tree.
build() {
	local package
	for package in "${packages[@]}"; do
		[[ -d $1/$package ]] || continue
		(cd "$1" && go test -c -o "$work/$2-${package//[.\/]/_}" "$package")
	done
}

# measure DIR NAME PACKAGE runs the benchmarks of one package once.
measure() {
	local program=$work/$2-${3//[.\/]/_}
	[[ -x $program ]] || return 0
	(cd "$1/$3" && "$program" -test.short -test.run '^$' -test.bench "${BENCH:-.}" -test.benchmem -test.benchtime "${TIME:-200ms}") | tee -a "$work/$2.txt"
}

build . now
if [[ -n $base ]]; then
	git worktree add -q --detach "$work/base" "$base"
	build "$work/base" base
fi
for ((round = 0; round < ${COUNT:-6}; round++)); do
	for package in "${packages[@]}"; do
		[[ -z $base ]] || measure "$work/base" base "$package"
		measure . now "$package"
	done
done
cd bench
if [[ -n $base ]]; then
	go tool benchstat "base=$work/base.txt" "now=$work/now.txt"
else
	go tool benchstat "$work/now.txt"
fi
