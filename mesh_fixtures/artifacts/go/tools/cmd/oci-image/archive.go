package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// layoutMarker is the file by which a reader knows an OCI image layout.
const layoutMarker = `{"imageLayoutVersion":"1.0.0"}`

// writeArchive writes an OCI image layout with all images; each blob once.
func writeArchive(archive string, images []Image, layers map[string]*storedLayer) error {
	file, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	writer := blobWriter{out: tar.NewWriter(file), written: map[v1.Hash]bool{}}
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, description := range images {
		image, err := assemble(description, layers)
		if err != nil {
			return fmt.Errorf("image %s: %w", description.Name, err)
		}
		if err := writer.image(image); err != nil {
			return fmt.Errorf("image %s: %w", description.Name, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: image,
			Descriptor: v1.Descriptor{
				Annotations: map[string]string{
					"io.containerd.image.name":          description.Name,
					"org.opencontainers.image.ref.name": description.Name,
				},
				Platform: &v1.Platform{OS: "linux", Architecture: runtime.GOARCH},
			},
		})
	}
	manifest, err := index.RawManifest()
	if err != nil {
		return err
	}
	if err := writer.member("index.json", int64(len(manifest)), bytes.NewReader(manifest)); err != nil {
		return err
	}
	marker := []byte(layoutMarker)
	if err := writer.member("oci-layout", int64(len(marker)), bytes.NewReader(marker)); err != nil {
		return err
	}
	if err := writer.out.Close(); err != nil {
		return err
	}
	return file.Close()
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
		User:       description.User,
		WorkingDir: description.Workdir,
	}
	return mutate.ConfigFile(image, config)
}

// blobWriter writes an image layout into a tar archive.
type blobWriter struct {
	out     *tar.Writer
	written map[v1.Hash]bool
}

func (w *blobWriter) image(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		if err := w.layer(layer); err != nil {
			return err
		}
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	hash, err := image.ConfigName()
	if err != nil {
		return err
	}
	if err := w.blob(hash, int64(len(config)), bytes.NewReader(config)); err != nil {
		return err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	if hash, err = image.Digest(); err != nil {
		return err
	}
	return w.blob(hash, int64(len(manifest)), bytes.NewReader(manifest))
}

func (w *blobWriter) layer(layer v1.Layer) error {
	hash, err := layer.Digest()
	if err != nil {
		return err
	}
	size, err := layer.Size()
	if err != nil {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	return w.blob(hash, size, content)
}

func (w *blobWriter) blob(hash v1.Hash, size int64, content io.Reader) error {
	if w.written[hash] {
		return nil
	}
	w.written[hash] = true
	return w.member("blobs/"+hash.Algorithm+"/"+hash.Hex, size, content)
}

func (w *blobWriter) member(name string, size int64, content io.Reader) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: beginning}
	if err := w.out.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(w.out, content)
	return err
}
