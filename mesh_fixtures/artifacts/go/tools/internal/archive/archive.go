// Package archive writes OCI image layouts into tar archives, as containerd's import reads them.
package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	// Marker is the content of the file by which a reader knows an OCI image layout.
	Marker = `{"imageLayoutVersion":"1.0.0"}`
	// MarkerFile is its name, and IndexFile that of the list of images.
	MarkerFile = "oci-layout"
	IndexFile  = "index.json"
)

// NameAnnotations have an image's name in an index, the one that says more first.
var NameAnnotations = []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"}

// Beginning stamps what has no time of its own, so that the same input makes the same bytes.
var Beginning = time.Unix(0, 0).UTC()

// Named is an image under the name by which it will be found.
type Named struct {
	Name  string
	Image v1.Image
}

// Write writes an archive with all images; each blob once.
func Write(file string, images []Named) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	writer := blobWriter{out: tar.NewWriter(out), written: map[v1.Hash]bool{}}
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, named := range images {
		if err := writer.image(named.Image); err != nil {
			return fmt.Errorf("image %s: %w", named.Name, err)
		}
		annotations := map[string]string{}
		for _, key := range NameAnnotations {
			annotations[key] = named.Name
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add: named.Image,
			Descriptor: v1.Descriptor{
				Annotations: annotations,
				Platform:    &v1.Platform{OS: "linux", Architecture: runtime.GOARCH},
			},
		})
	}
	manifest, err := index.RawManifest()
	if err != nil {
		return err
	}
	if err := writer.member(IndexFile, int64(len(manifest)), bytes.NewReader(manifest)); err != nil {
		return err
	}
	marker := []byte(Marker)
	if err := writer.member(MarkerFile, int64(len(marker)), bytes.NewReader(marker)); err != nil {
		return err
	}
	if err := writer.out.Close(); err != nil {
		return err
	}
	return out.Close()
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
	return w.member(BlobFile(hash), size, content)
}

// BlobFile is the name of a blob's file in a layout.
func BlobFile(hash v1.Hash) string {
	return "blobs/" + hash.Algorithm + "/" + hash.Hex
}

func (w *blobWriter) member(name string, size int64, content io.Reader) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: Beginning}
	if err := w.out.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(w.out, content)
	return err
}
