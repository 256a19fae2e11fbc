package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	ociarchive "mesh-conformance/tools/internal/archive"
)

// member is one entry of an archive.
type member struct {
	*tar.Header
	content []byte
}

func unpack(t *testing.T, archive []byte) map[string]member {
	t.Helper()
	found := map[string]member{}
	for reader := tar.NewReader(bytes.NewReader(archive)); ; {
		header, err := reader.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := found[header.Name]; twice {
			t.Errorf("%s is there twice", header.Name)
		}
		found[header.Name] = member{header, content}
	}
}

// blob returns what a digest stands for, after checking that it does.
func blob(t *testing.T, archive map[string]member, hash v1.Hash) []byte {
	t.Helper()
	content := archive["blobs/"+hash.Algorithm+"/"+hash.Hex].content
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != hash.Hex {
		t.Fatalf("the blob %s does not have its digest", hash)
	}
	return content
}

func parse[T any](t *testing.T, content []byte) T {
	t.Helper()
	var parsed T
	if err := json.Unmarshal(content, &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// example is a description of two images that share a layer, on a tree that it makes.
func example(t *testing.T) Spec {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	write(t, filepath.Join(tree, "etc/hostname"), "localhost")
	write(t, filepath.Join(tree, "tmp/left"), "left")
	if err := os.Symlink("usr/bin", filepath.Join(tree, "bin")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(tree, "..", "program"), "#!")
	layers := map[string]Layer{
		"base": {Trees: []Tree{{From: tree, Skip: []string{"tmp"}}}},
		"own": {
			Folders: []Folder{{To: "/home/user", Mode: "700", Owner: 1337}, {To: "/tmp", Mode: "1777"}},
			Files: []File{
				{From: filepath.Join(tree, "..", "program"), To: "/usr/bin/program", Mode: "755"},
				{Text: "text", To: "/home/user/note", Mode: "640", Owner: 1337},
			},
		},
	}
	return Spec{layers, []Image{
		{Name: "localhost/base:1", Layers: []string{"base"}, Command: []string{"sleep", "infinity"}},
		{
			Name: "localhost/own:1", Layers: []string{"base", "own"}, Entrypoint: []string{"/usr/bin/program"},
			Env: []string{"A=b"}, Labels: map[string]string{"example": "yes"}, User: "1337:1337", Workdir: "/home/user",
		},
	}}
}

func archived(t *testing.T, spec Spec) ([]byte, error) {
	t.Helper()
	folder := t.TempDir()
	described, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	file, archive := filepath.Join(folder, "spec.json"), filepath.Join(folder, "images.tar")
	write(t, file, string(described))
	if err := run(file, archive); err != nil {
		return nil, err
	}
	left, err := os.ReadDir(folder)
	if err != nil || len(left) != 2 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return os.ReadFile(archive)
}

func TestSameInputMakesTheSameBytes(t *testing.T) {
	spec := example(t)
	first, err := archived(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	// reading changes the times of access, and a link those of change
	tree := spec.Layers["base"].Trees[0].From
	later := time.Now().Add(time.Hour)
	about, err := os.Stat(filepath.Join(tree, "etc/hostname"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(filepath.Join(tree, "etc/hostname"), later, about.ModTime()); err != nil {
		t.Fatal(err)
	}
	second, err := archived(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("the archives differ")
	}
}

func TestArchiveHoldsTheImages(t *testing.T) {
	spec := example(t)
	content, err := archived(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	archive := unpack(t, content)
	if got := string(archive["oci-layout"].content); got != ociarchive.Marker {
		t.Errorf("oci-layout is %q", got)
	}
	index := parse[v1.IndexManifest](t, archive["index.json"].content)
	if len(index.Manifests) != len(spec.Images) {
		t.Fatalf("%d images", len(index.Manifests))
	}
	var stacks [][]v1.Descriptor
	for number, descriptor := range index.Manifests {
		image := spec.Images[number]
		if name := descriptor.Annotations["io.containerd.image.name"]; name != image.Name {
			t.Errorf("image %d is called %q", number, name)
		}
		if platform := descriptor.Platform; platform.OS != "linux" || platform.Architecture != runtime.GOARCH {
			t.Errorf("%s is for %v", image.Name, platform)
		}
		manifest := parse[v1.Manifest](t, blob(t, archive, descriptor.Digest))
		stacks = append(stacks, manifest.Layers)
		config := parse[v1.ConfigFile](t, blob(t, archive, manifest.Config.Digest))
		if !slices.Equal(config.Config.Entrypoint, image.Entrypoint) || !slices.Equal(config.Config.Cmd, image.Command) ||
			!slices.Equal(config.Config.Env, image.Env) || config.Config.User != image.User || !maps.Equal(config.Config.Labels, image.Labels) || config.Config.WorkingDir != image.Workdir {
			t.Errorf("%s runs %+v", image.Name, config.Config)
		}
	}
	if stacks[0][0].Digest != stacks[1][0].Digest {
		t.Error("the shared layer is there twice")
	}
	base := unpack(t, blob(t, archive, stacks[1][0].Digest))
	checkMembers(t, base, map[string]expected{
		"etc/": {0o755, 0, ""}, "etc/hostname": {0o644, 0, "localhost"}, "bin": {0o777, 0, ""}, "tmp/": {0o755, 0, ""},
	})
	if base["bin"].Linkname != "usr/bin" {
		t.Errorf("bin leads to %q", base["bin"].Linkname)
	}
	checkMembers(t, unpack(t, blob(t, archive, stacks[1][1].Digest)), map[string]expected{
		"home/": {0o755, 0, ""}, "home/user/": {0o700, 1337, ""}, "home/user/note": {0o640, 1337, "text"},
		"tmp/": {0o1777, 0, ""}, "usr/": {0o755, 0, ""}, "usr/bin/": {0o755, 0, ""}, "usr/bin/program": {0o755, 0, "#!"},
	})
}

type expected struct {
	mode    int64
	owner   int
	content string
}

func checkMembers(t *testing.T, found map[string]member, wanted map[string]expected) {
	t.Helper()
	for name, want := range wanted {
		got, there := found[name]
		// members of a tree belong to whoever made it; here, that is whoever runs the test
		owner := want.owner
		if there && owner == 0 {
			owner = got.Uid
		}
		if !there || got.Mode != want.mode || got.Uid != owner || string(got.content) != want.content {
			t.Errorf("%s: wanted %+v, got %+v", name, want, got.Header)
		}
	}
	for name := range found {
		if _, known := wanted[name]; !known {
			t.Errorf("%s should not be there", name)
		}
	}
}

func TestDescriptionsThatCannotBeUsed(t *testing.T) {
	for name, spoil := range map[string]func(*Spec){
		`"absent", which is not described`: func(spec *Spec) { spec.Images[0].Layers = []string{"absent"} },
		"can only contain":                 func(spec *Spec) { spec.Images[0].Name = "localhost/Upper:1" },
		`mode "rwx" is not octal`: func(spec *Spec) {
			spec.Layers["own"] = Layer{Files: []File{{Text: "x", To: "/x", Mode: "rwx"}}}
		},
		"no such file": func(spec *Spec) {
			spec.Layers["own"] = Layer{Files: []File{{From: "/no/such", To: "/x", Mode: "644"}}}
		},
	} {
		spec := example(t)
		spoil(&spec)
		if _, err := archived(t, spec); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("wanted %q, got %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "spec.json")
	write(t, file, `{"layer": {}}`)
	if _, err := readSpec(file); err == nil || !strings.Contains(err.Error(), "unknown field") {
		t.Errorf("an unknown field: %v", err)
	}
}
