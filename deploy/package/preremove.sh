#!/bin/sh
# Runs before the files go: on a removal ("remove" on Debian, 0 on RPM systems) it
# stops quell; on an upgrade it does nothing.
set -e
case $1 in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl stop quell.service
	fi
	systemctl --no-reload disable quell.service
	;;
esac
