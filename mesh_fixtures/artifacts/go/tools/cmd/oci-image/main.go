// Writes container images into one OCI archive, from a description of their layers and settings.
//
// Layers stay uncompressed: they are unpacked on the same machine right after. Layers that images share are
// stored once. The archive depends on the description and the files alone, not on when it was made.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
)

// Spec is everything that goes into one archive.
type Spec struct {
	Layers map[string]Layer `json:"layers"`
	Images []Image          `json:"images"`
}

// Layer is a list of things to add, in this order; folders above a file need not be named.
type Layer struct {
	Trees   []Tree   `json:"trees"`
	Folders []Folder `json:"folders"`
	Files   []File   `json:"files"`
}

// Tree is a folder whose content is copied with owners, modes and modification times.
type Tree struct {
	From string `json:"from"`
	// Skip names folders, relative to From, that stay but whose content does not.
	Skip []string `json:"skip"`
}

// Folder is an empty folder; a mode is written in octal, as in "1777".
type Folder struct {
	To    string `json:"to"`
	Mode  string `json:"mode"`
	Owner int    `json:"owner"`
}

// File is one file, its content either copied from From or given as Text.
type File struct {
	From  string `json:"from"`
	Text  string `json:"text"`
	To    string `json:"to"`
	Mode  string `json:"mode"`
	Owner int    `json:"owner"`
}

// Image names its layers from the lowest up.
type Image struct {
	Name       string            `json:"name"`
	Layers     []string          `json:"layers"`
	Entrypoint []string          `json:"entrypoint"`
	Command    []string          `json:"command"`
	Env        []string          `json:"env"`
	Labels     map[string]string `json:"labels"`
	User       string            `json:"user"`
	Workdir    string            `json:"workdir"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintf(os.Stderr, "usage: %s SPEC.json ARCHIVE.tar\n", filepath.Base(os.Args[0]))
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

func run(specFile, archive string) error {
	spec, err := readSpec(specFile)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp(filepath.Dir(archive), "layers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	layers := make(map[string]*storedLayer, len(spec.Layers))
	for key, layer := range spec.Layers {
		stored, err := storeLayer(layer, filepath.Join(scratch, key))
		if err != nil {
			return fmt.Errorf("layer %s: %w", key, err)
		}
		layers[key] = stored
	}
	return writeArchive(archive, spec.Images, layers)
}

func readSpec(path string) (*Spec, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	var spec Spec
	if err := decoder.Decode(&spec); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, image := range spec.Images {
		if _, err := name.NewTag(image.Name, name.StrictValidation); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, key := range image.Layers {
			if _, known := spec.Layers[key]; !known {
				return nil, fmt.Errorf("%s: image %s names the layer %q, which is not described", path, image.Name, key)
			}
		}
	}
	return &spec, nil
}
