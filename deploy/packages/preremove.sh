#!/bin/sh
# Before the package goes, not before it is replaced: Debian says "remove" then, RPM 0.
set -e
case "$1" in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl disable --now blobd.socket blobd.service || true
	fi
	;;
esac
