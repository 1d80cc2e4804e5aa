#!/bin/sh
# Runs when the files are gone. The user and /var/lib/quell stay: the log of what
# was suppressed is evidence, and nobody loses it by removing a package.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
