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
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq </dev/null
	apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
fi

ulimit -n "$(ulimit -Hn)"
scripts/build.sh
cd bench
program=$(mktemp)
go build -o "$program" .
# Not "go run", which would stand between this and the signals of a terminal.
status=0
"$program" "$@" || status=$?
rm -f "$program"
exit "$status"
