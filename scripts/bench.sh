#!/usr/bin/env bash
# bench.sh [FLAGS] [ROW...] installs what the measurements of bench need and the
# machine lacks, builds quell, and measures. "bench.sh -h" lists the flags.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What is run: a command, and the Debian packages that it comes from.
needs='nginx nginx libnginx-mod-http-lua
haproxy haproxy
wrk wrk
sqlite3 sqlite3
perf linux-perf
pg_ctlcluster postgresql'

missing=()
while read -r command packages; do
	command -v "$command" >/dev/null && continue
	read -ra names <<<"$packages"
	missing+=("${names[@]}")
done <<<"$needs"
compgen -G '/usr/lib*/nginx/modules/ngx_http_lua_module.so' >/dev/null || missing+=(libnginx-mod-http-lua)
if [[ ${#missing[@]} -gt 0 ]]; then
	printf 'install: %s\n' "${missing[*]}"
	[[ $(id -u) == 0 ]] && command -v apt-get >/dev/null || { printf 'as root on Debian or Ubuntu this would be installed; install it yourself\n' >&2; exit 1; }
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq </dev/null
	log=$(apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null 2>&1) || { printf '%s\n' "$log" >&2; exit 1; }
fi

ulimit -n "$(ulimit -Hn)"
programs=$(mktemp -d)
trap 'rm -rf "$programs"' EXIT
# As scripts/build.sh does, but with the names that perf shows.
go build -trimpath -o "$programs/quell" ./cmd/quell
cd bench
go build -o "$programs/bench" .
"$programs/bench" -quell "$programs/quell" "$@"
