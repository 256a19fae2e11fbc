package main

import (
	"fmt"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"mesh-conformance/tools/internal/archive"
)

// writeArchive writes an OCI image layout with all images.
func writeArchive(file string, images []Image, layers map[string]*storedLayer) error {
	named := make([]archive.Named, 0, len(images))
	for _, description := range images {
		image, err := assemble(description, layers)
		if err != nil {
			return fmt.Errorf("image %s: %w", description.Name, err)
		}
		named = append(named, archive.Named{Name: description.Name, Image: image})
	}
	return archive.Write(file, named)
}

func assemble(description Image, layers map[string]*storedLayer) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	stack := make([]v1.Layer, 0, len(description.Layers))
	for _, key := range description.Layers {
		stack = append(stack, layers[key])
	}
	image, err := mutate.AppendLayers(image, stack...)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{
		Entrypoint: description.Entrypoint,
		Cmd:        description.Command,
		Env:        description.Env,
		Labels:     description.Labels,
		User:       description.User,
		WorkingDir: description.Workdir,
	}
	return mutate.ConfigFile(image, config)
}
