#!/bin/sh
# Runs inside namespaces of its own: imports image archives with the node's containerd, then stops it.
# usage: prepare-store.sh NODE BASE SCRATCH STORE ARCHIVES NAME...
# ARCHIVES is the folder of the archives
set -eu
node=$1 base=$2 scratch=$3 store=$4 archives=$5
shift 5

root=$scratch/root
mkdir -p "$root" "$scratch/upper" "$scratch/overlay"
mount -t overlay overlay -o "lowerdir=$node:$base,upperdir=$scratch/upper,workdir=$scratch/overlay" "$root"
mkdir -p "$root/var/lib/containerd" "$root/input"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount --bind "$store" "$root/var/lib/containerd"
mount --bind "$archives" "$root/input"
cp "$scratch/containerd.toml" "$root/etc/containerd/config.toml"

chroot "$root" containerd --log-level warn >"$scratch/containerd.log" 2>&1 &
daemon=$!
# Whatever happens, say what the daemon said.
trap 'status=$?; [ $status -eq 0 ] || cat "$scratch/containerd.log" >&2; exit $status' EXIT

tries=0
until chroot "$root" ctr version >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ] || ! kill -0 $daemon 2>/dev/null; then
        echo "containerd did not answer" >&2
        exit 1
    fi
    sleep 0.1
done
for archive in "$archives"/*; do
    chroot "$root" ctr --namespace k8s.io images import --snapshotter overlayfs "/input/${archive##*/}"
done
for name in "$@"; do
    chroot "$root" ctr --namespace k8s.io images label "$name" io.cri-containerd.image=managed
done
kill $daemon
wait $daemon || true
