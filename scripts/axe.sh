#!/usr/bin/env bash
# axe-core finds what keeps people from using a page. The tests of the console run it in a browser.
# It is no part of quell. It is fetched once into the cache of the user, and its sum is checked.
# Prints the path of the script. With "path" it fetches nothing, and fails if it is not there.
set -euo pipefail

version=4.14.1
sum=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745 # SHA-256 of the package

cache=${XDG_CACHE_HOME:-$HOME/.cache}/quell
script=$cache/axe-core-$version-${sum:0:12}.js

if [[ ! -s $script ]]; then
	if [[ ${1:-} == path ]]; then
		echo "axe-core is not there: run scripts/axe.sh, which needs npm" >&2
		exit 1
	fi
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	(cd "$work" && npm pack --silent "axe-core@$version" >/dev/null && sha256sum --quiet --check - <<<"$sum  axe-core-$version.tgz")
	mkdir -p "$cache"
	tar -xzOf "$work/axe-core-$version.tgz" package/axe.min.js >"$script.$$"
	mv "$script.$$" "$script" # whole, also if two fetch it at once
fi
echo "$script"
