#!/bin/sh
# The user, its group and the socket's folder. Nothing is started; a daemon that runs already becomes the new one, and
# its callers wait at the socket meanwhile.
set -e
systemd-sysusers blobd.conf
systemd-tmpfiles --create blobd.conf || true
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart blobd.service || true
fi
