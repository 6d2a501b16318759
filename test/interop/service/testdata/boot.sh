#!/bin/bash
# boot.sh CGROUP LAYER FOLDER: systemd as the first process of its own namespaces. Its files are LAYER before those of this host,
# and what it writes is in memory, mounted on FOLDER. All that is mounted here is mounted for it alone, and goes with it.
set -e
echo $$ >"$1/cgroup.procs"
exec unshare --mount --uts --ipc --net --pid --cgroup --fork --kill-child --propagation private bash -c '
set -e
mount -t tmpfs tmpfs "$2"
cd "$2"
mkdir upper work root
cp -a "$1" layer
mount -t overlay overlay -o "lowerdir=layer:/,upperdir=upper,workdir=work" root
cd root

# The kernel is this host'"'"'s: no sysctl, no device and no module is changed.
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do
	touch dev/$node
	mount --bind /dev/$node dev/$node
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
hostname blobd-test
: >etc/fstab # the disks of this host are not for it
ip link set lo up

mkdir -p .old
pivot_root . .old
umount -l /.old
mount --make-rshared / # as systemd has it on a host; without it no credential reaches a service
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=basic.target --show-status=no --log-target=console --log-level=notice </dev/null
' boot "$2" "$3"
