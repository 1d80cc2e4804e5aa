#!/usr/bin/env bash
# in_memory.sh COMMAND... runs a command whose temporary files are in memory, if there is
# room. Nothing that a test writes has to outlive the machine, and no test then waits for
# the disk.
set -euo pipefail
memory=/dev/shm
kibibytes=$(df --output=avail "$memory" 2>/dev/null | tail -n 1) || kibibytes=0
[[ -w $memory && $kibibytes -gt $((4 << 20)) ]] && export TMPDIR=$memory
exec "$@"
