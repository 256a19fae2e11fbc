package main

import (
	"os"
	"path/filepath"
	"testing"
)

func sources(folder string) map[string]string {
	found := map[string]string{}
	for _, device := range devices(folder) {
		found[device.Target] = filepath.Base(device.Source)
	}
	return found
}

func TestDevicesOfAFullMachineAreTheirOwn(t *testing.T) {
	folder := t.TempDir()
	names := []string{"null", "zero", "full", "random", "urandom", "tty", "kmsg"}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	found := sources(folder)
	if len(found) != len(names) {
		t.Errorf("bound %v", found)
	}
	for _, name := range names {
		if found[name] != name {
			t.Errorf("%s is %q", name, found[name])
		}
	}
}

func TestMachineWithoutTerminalAndKernelLog(t *testing.T) {
	found := sources(t.TempDir())
	if terminal, bound := found["tty"]; bound {
		t.Errorf("tty is %q", terminal)
	}
	if found["kmsg"] != "null" {
		t.Errorf("kmsg is %q", found["kmsg"])
	}
}

func TestMountTargetIsMadeLikeItsSource(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for source, isFolder := range map[string]bool{file: false, folder: true} {
		target := filepath.Join(t.TempDir(), "a", "b")
		if err := makeTarget(Mount{Kind: "bind", Source: source}, target); err != nil {
			t.Fatal(err)
		}
		if about, err := os.Stat(target); err != nil || about.IsDir() != isFolder {
			t.Errorf("target for %s: %v, %v", source, about, err)
		}
	}
	if makeTarget(Mount{Kind: "bind", Source: filepath.Join(folder, "missing")}, file) == nil {
		t.Error("a missing source was not reported")
	}
}
