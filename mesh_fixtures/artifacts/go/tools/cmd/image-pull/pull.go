package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"mesh-conformance/tools/internal/archive"
)

// layersInParallel is how many layers are on their way at the same time.
const layersInParallel = 4

func resolve(source source, names []string) Result {
	found := map[string]Found{}
	for _, reference := range names {
		digest, from, failed := source.resolve(reference)
		if failed != nil {
			return Result{Error: failed}
		}
		found[reference] = Found{Digest: digest, From: from}
	}
	return Result{Images: found}
}

// pull writes images into an archive, which is only there when it is whole.
func pull(ctx context.Context, source source, file string, wanted []string, scratch string, tries int) Result {
	found := map[string]Found{}
	var images []archive.Named
	for _, each := range wanted {
		reference, digest, isComplete := strings.Cut(each, "@")
		if !isComplete {
			return Result{Error: &Failure{Kind: badName, Image: each, Message: "wanted NAME@DIGEST"}}
		}
		image, from, failed := source.image(reference, digest)
		if failed != nil {
			return Result{Error: failed}
		}
		local, err := fetch(ctx, image, scratch, tries)
		if err != nil {
			return Result{Error: failure(reference, from, err)}
		}
		config, err := image.ConfigFile()
		if err != nil {
			return Result{Error: failure(reference, from, err)}
		}
		found[reference] = Found{Digest: digest, From: from, Labels: config.Config.Labels}
		images = append(images, archive.Named{Name: reference, Image: local})
	}
	partial := file + ".partial"
	defer os.Remove(partial)
	err := archive.Write(partial, images)
	if err == nil {
		err = os.Rename(partial, file)
	}
	if err != nil {
		return Result{Error: failure("", file, err)}
	}
	return Result{Images: found}
}

// localImage is an image whose layers have come.
type localImage struct {
	v1.Image
	layers []v1.Layer
}

func (i *localImage) Layers() ([]v1.Layer, error) { return i.layers, nil }

// localLayer is a layer whose content, as it came, lies in a file.
type localLayer struct {
	v1.Layer
	path string
}

func (l *localLayer) Compressed() (io.ReadCloser, error) { return os.Open(l.path) }

// fetch brings all layers of an image into a folder; those that are there already stay.
func fetch(ctx context.Context, image v1.Image, folder string, tries int) (v1.Image, error) {
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	local := &localImage{Image: image}
	failed := make([]error, len(layers))
	slots := make(chan struct{}, layersInParallel)
	var group sync.WaitGroup
	begun := map[v1.Hash]bool{}
	for number, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return nil, err
		}
		path := filepath.Join(folder, digest.Hex)
		local.layers = append(local.layers, &localLayer{layer, path})
		if begun[digest] {
			continue
		}
		begun[digest] = true
		group.Add(1)
		go func() {
			defer group.Done()
			slots <- struct{}{}
			defer func() { <-slots }()
			failed[number] = store(ctx, layer, digest, path, tries)
		}()
	}
	group.Wait()
	for _, err := range failed {
		if err != nil {
			return nil, err
		}
	}
	return local, nil
}

// store writes a layer into a file. What breaks off on its way is asked for again.
func store(ctx context.Context, layer v1.Layer, digest v1.Hash, path string, tries int) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	return repeat(ctx, tries, func() error { return storeOnce(layer, digest, path) })
}

func storeOnce(layer v1.Layer, digest v1.Hash, path string) error {
	size, err := layer.Size()
	if err != nil {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	partial := path + ".partial"
	defer os.Remove(partial)
	// What reads from a registry compares the digest at the end, too; what reads from an archive does not.
	if err := writeBlob(partial, content, digest); err != nil {
		return asBrokenOff(err, digest, partial, size)
	}
	return os.Rename(partial, path)
}

// asBrokenOff tells content that is too short from content that is another, by what has been written of it.
func asBrokenOff(err error, digest v1.Hash, partial string, size int64) error {
	if !strings.Contains(err.Error(), "error verifying") {
		return err
	}
	if written, failed := os.Stat(partial); failed == nil && written.Size() < size {
		return fmt.Errorf("%w after %d of %d bytes", io.ErrUnexpectedEOF, written.Size(), size)
	}
	return &digestError{digest.String()}
}
