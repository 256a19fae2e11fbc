#!/bin/sh
# Runs a program in a mount namespace of its own whose root is the given folder.
# usage: unshare --mount in-root.sh FOLDER PROGRAM [ARGUMENT...]
#
# chroot would not do: containers are entered by setns(2), which leads to the root of their mount namespace, and
# with chroot that would still be the machine's.
set -eu
cd "$1"
shift
mkdir .outside
pivot_root . .outside
umount --lazy /.outside
rmdir /.outside
# as systemd has it on other machines; else Docker would mount its data root over itself, and hide the mounts below
mount --make-rshared /
exec "$@"
