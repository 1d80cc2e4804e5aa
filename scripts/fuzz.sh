#!/usr/bin/env bash
# Runs every fuzz test for the given time (1m if none is given), one after the
# other. It spends few tries on making an input smaller: for a report file that
# would take all of the time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u | while read -r package; do
	go test -list '^Fuzz' "$package" | grep '^Fuzz' | while read -r name; do
		echo "fuzz: $package $name"
		go test -run '^$' -fuzz "^$name\$" -fuzztime "${1:-1m}" -fuzzminimizetime 20x "$package" </dev/null
	done
done
