#!/bin/sh
# Debian's purge takes the cache and the daemon's logins too. The user stays: files of its own may be elsewhere.
set -e
if [ "$1" = purge ]; then
	rm -rf /var/cache/blobd /var/lib/blobd
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
