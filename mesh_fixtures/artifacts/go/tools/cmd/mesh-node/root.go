package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// enterRoot makes an overlay of the lower folders with a writable layer in memory, fills it with the
// node's mounts and makes it the root of this mount namespace.
func enterRoot(spec *Spec) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("tmpfs", spec.Root, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", spec.Root, err)
	}
	merged := filepath.Join(spec.Root, "merged")
	upper, work := filepath.Join(spec.Root, "upper"), filepath.Join(spec.Root, "work")
	for _, folder := range []string{merged, upper, work} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
	}
	options := "lowerdir=" + strings.Join(spec.Lowers, ":") + ",upperdir=" + upper + ",workdir=" + work
	if err := syscall.Mount("overlay", merged, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount overlay (%s): %w", options, err)
	}
	for _, mount := range spec.Mounts {
		if err := attach(merged, mount); err != nil {
			return err
		}
	}
	if err := makeDevices(filepath.Join(merged, "dev")); err != nil {
		return err
	}
	return pivot(merged)
}

func attach(root string, mount Mount) error {
	target := filepath.Join(root, mount.Target)
	if err := makeTarget(mount, target); err != nil {
		return err
	}
	var err error
	switch mount.Kind {
	case "bind":
		err = syscall.Mount(mount.Source, target, "", syscall.MS_BIND|syscall.MS_REC, "")
		if err == nil && mount.ReadOnly {
			err = syscall.Mount("", target, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, "")
		}
	case "tmpfs", "proc", "sysfs":
		err = syscall.Mount(mount.Kind, target, mount.Kind, 0, "")
	default:
		err = fmt.Errorf("unknown kind %q", mount.Kind)
	}
	if err == nil {
		// kubelet shares volumes with pods by mount propagation
		err = syscall.Mount("", target, "", syscall.MS_REC|syscall.MS_SHARED, "")
	}
	if err != nil {
		return fmt.Errorf("mount %s on %s: %w", mount.Source, mount.Target, err)
	}
	return nil
}

func makeTarget(mount Mount, target string) error {
	if mount.Kind == "bind" {
		about, err := os.Stat(mount.Source)
		if err != nil {
			return err
		}
		if !about.IsDir() {
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				return err
			}
			file, err := os.OpenFile(target, os.O_CREATE, 0o644)
			if err != nil {
				return err
			}
			return file.Close()
		}
	}
	return os.MkdirAll(target, 0o755)
}

// makeDevices gives the node the devices that a container runtime needs, and terminals of its own.
func makeDevices(folder string) error {
	if err := syscall.Mount("tmpfs", folder, "tmpfs", syscall.MS_NOSUID, "mode=0755"); err != nil {
		return fmt.Errorf("mount tmpfs on /dev: %w", err)
	}
	for _, device := range devices("/dev") {
		target := filepath.Join(folder, device.Target)
		if err := makeTarget(device, target); err != nil {
			return err
		}
		if err := syscall.Mount(device.Source, target, "", syscall.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", device.Source, err)
		}
	}
	for _, name := range []string{"pts", "shm"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o755); err != nil {
			return err
		}
	}
	if err := syscall.Mount("devpts", filepath.Join(folder, "pts"), "devpts", 0, "newinstance,ptmxmode=0666"); err != nil {
		return fmt.Errorf("mount devpts: %w", err)
	}
	if err := syscall.Mount("tmpfs", filepath.Join(folder, "shm"), "tmpfs", 0, "mode=1777"); err != nil {
		return fmt.Errorf("mount /dev/shm: %w", err)
	}
	for name, target := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd"} {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			return err
		}
	}
	return nil
}

// devices lists what to bind, given the folder of the machine's devices, which in a container may hold
// few. Without a terminal there is nothing to bind. The kernel's log must be there, since kubelet does not
// start without it; but it only looks there for processes that the kernel has killed for want of memory,
// and gives that up, with a line in its own log, at the end of file that /dev/null is.
func devices(outer string) []Mount {
	var found []Mount
	for _, name := range []string{"null", "zero", "full", "random", "urandom"} {
		found = append(found, Mount{Kind: "bind", Source: filepath.Join(outer, name), Target: name})
	}
	if terminal := filepath.Join(outer, "tty"); exists(terminal) {
		found = append(found, Mount{Kind: "bind", Source: terminal, Target: "tty"})
	}
	log := filepath.Join(outer, "kmsg")
	if !canRead(log) {
		log = filepath.Join(outer, "null")
	}
	return append(found, Mount{Kind: "bind", Source: log, Target: "kmsg"})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func canRead(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	return file.Close() == nil
}

func pivot(root string) error {
	old := filepath.Join(root, ".outside")
	if err := os.MkdirAll(old, 0o700); err != nil {
		return err
	}
	if err := syscall.PivotRoot(root, old); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := syscall.Unmount("/.outside", syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the outer root: %w", err)
	}
	if err := os.Remove("/.outside"); err != nil {
		return err
	}
	return syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, "")
}
