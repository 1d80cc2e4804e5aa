#!/usr/bin/env bash
# Builds bin/quell. With DEVICE_LIST in the environment, that device list is
# built in: the build sees the file in the place of the committed one, which
# stays as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

flags=()
if [[ -n ${DEVICE_LIST:-} ]]; then
	[[ -r $DEVICE_LIST ]] || { echo "build: cannot read the device list $DEVICE_LIST" >&2; exit 1; }
	overlay=$(mktemp)
	trap 'rm -f "$overlay"' EXIT
	list=$(realpath "$DEVICE_LIST" | sed 's/[\\"]/\\&/g')
	printf '{"Replace": {"internal/inventory/builtin.txt": "%s"}}\n' "$list" >"$overlay"
	flags=(-overlay "$overlay")
	go test "${flags[@]}" -run '^TestBuiltin$' ./internal/inventory
fi
release=$(git describe --tags --always --dirty 2>/dev/null || true)
go build -trimpath -ldflags "-X main.release=$release" "${flags[@]}" -o bin/quell ./cmd/quell
