#!/bin/sh
# Runs when the files of the package are there, on Debian and on RPM systems. It
# starts nothing and restarts nothing: when a node starts is the operator's decision.
set -e
systemd-sysusers quell.conf
systemd-tmpfiles --create quell.conf
chgrp quell /etc/quell
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
