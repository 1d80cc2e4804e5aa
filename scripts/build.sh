#!/usr/bin/env bash
# Builds quell: scripts/build.sh [FILE [VERSION]]. FILE is bin/quell and VERSION is what git
# says, unless they are given. If DEVICE_LIST is in the environment, it builds that device list
# in: the build sees the file in place of the committed one. The committed file stays as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

flags=()
if [[ -n ${DEVICE_LIST:-} ]]; then
	[[ -r $DEVICE_LIST ]] || { echo "build: cannot read the device list $DEVICE_LIST" >&2; exit 1; }
	overlay=$(mktemp)
	trap 'rm -f "$overlay"' EXIT
	list=$(realpath "$DEVICE_LIST" | sed 's/[\\"]/\\&/g')
	printf '{"Replace": {"internal/devices/builtin.txt": "%s"}}\n' "$list" >"$overlay"
	flags=(-overlay "$overlay")
	GOOS='' GOARCH='' go test "${flags[@]}" -run '^TestBuiltin$' ./internal/devices
fi
version=${2:-$(git describe --tags --always --dirty 2>/dev/null || true)}
# -s and -w leave out what only a debugger reads, a third of the program.
go build -trimpath -ldflags "-s -w -X main.release=$version" "${flags[@]}" -o "${1:-bin/quell}" ./cmd/quell
