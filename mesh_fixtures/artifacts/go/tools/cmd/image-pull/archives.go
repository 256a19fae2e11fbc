package main

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"mesh-conformance/tools/internal/archive"
)

// archiveSource takes images out of archives in OCI's format or Docker's, plain or compressed by gzip.
type archiveSource struct {
	files   []string
	scratch string
	read    map[string]archived
}

// archived is an image of an archive.
type archived struct {
	image v1.Image
	file  string
}

func listArchives(files []string, scratch string) Result {
	source := &archiveSource{files: files, scratch: scratch}
	if failed := source.open(); failed != nil {
		return Result{Error: failed}
	}
	found := map[string]Found{}
	for reference, each := range source.read {
		digest, err := each.image.Digest()
		if err != nil {
			return Result{Error: failure(reference, each.file, &archiveError{err})}
		}
		found[reference] = Found{Digest: digest.String(), From: each.file}
	}
	return Result{Images: found}
}

func (s *archiveSource) resolve(reference string) (string, string, *Failure) {
	found, failed := s.find(reference)
	if failed != nil {
		return "", "", failed
	}
	digest, err := found.image.Digest()
	if err != nil {
		return "", "", failure(reference, found.file, &archiveError{err})
	}
	return digest.String(), found.file, nil
}

func (s *archiveSource) image(reference, digest string) (v1.Image, string, *Failure) {
	found, failed := s.find(reference)
	if failed != nil {
		return nil, "", failed
	}
	is, err := found.image.Digest()
	if err != nil {
		return nil, "", failure(reference, found.file, &archiveError{err})
	}
	config, err := found.image.ConfigFile()
	if err != nil {
		return nil, "", failure(reference, found.file, &archiveError{err})
	}
	if is.String() != digest {
		return nil, "", failure(reference, found.file, &digestError{digest})
	}
	if config.Architecture != platform.Architecture {
		return nil, "", failure(reference, found.file, &platformError{config.OS + "/" + config.Architecture})
	}
	return found.image, found.file, nil
}

func (s *archiveSource) find(reference string) (archived, *Failure) {
	if failed := s.open(); failed != nil {
		return archived{}, failed
	}
	full, err := fullName(reference)
	if err != nil {
		return archived{}, failure(reference, "", err)
	}
	if found, ok := s.read[full]; ok {
		return found, nil
	}
	absent := &absentError{fmt.Errorf("none of the archives holds it: %s", strings.Join(s.files, ", "))}
	return archived{}, failure(reference, filepath.Dir(s.files[0]), absent)
}

// fullName is the one name of an image that has several, as those of Docker Hub have.
func fullName(reference string) (string, error) {
	parsed, err := name.ParseReference(reference)
	if err != nil {
		return "", err
	}
	return parsed.Name(), nil
}

// open reads the indexes of all archives, once; where two hold a name, the later one counts.
func (s *archiveSource) open() *Failure {
	if s.read != nil {
		return nil
	}
	found := map[string]archived{}
	for number, file := range s.files {
		folder := filepath.Join(s.scratch, fmt.Sprintf("archive-%d", number))
		images, err := readArchive(file, folder)
		if err != nil {
			var failed *archiveError
			if !errors.As(err, &failed) && kindOf(err) != diskFull {
				err = &archiveError{err}
			}
			return failure("", file, err)
		}
		for reference, image := range images {
			found[reference] = archived{image, file}
		}
	}
	s.read = found
	return nil
}

// readArchive returns the images of an archive by their full names.
//
// Args: scratch is a folder for what is unpacked of it; it is made.
func readArchive(file, scratch string) (map[string]v1.Image, error) {
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return nil, err
	}
	plain, err := decompressed(file, filepath.Join(scratch, "plain.tar"))
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(scratch, "layout")
	isLayout, err := unpackLayout(plain, folder)
	if err != nil {
		return nil, err
	}
	if isLayout {
		return imagesOfLayout(folder)
	}
	return imagesOfDocker(plain)
}

// decompressed is a plain archive with the content of a file, which may be that file itself.
func decompressed(file, target string) (string, error) {
	source, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer source.Close()
	reader := bufio.NewReader(source)
	if magic, _ := reader.Peek(2); string(magic) != "\x1f\x8b" {
		return file, nil
	}
	content, err := gzip.NewReader(reader)
	if err != nil {
		return "", err
	}
	return target, write(target, content)
}

func write(target string, content io.Reader) error {
	file, err := os.Create(target)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := io.Copy(file, content); err != nil {
		return err
	}
	return file.Close()
}

// writeBlob writes content that must have a digest; what has another is left for the caller to remove.
func writeBlob(target string, content io.Reader, digest v1.Hash) error {
	hasher, err := v1.Hasher(digest.Algorithm)
	if err != nil {
		return err
	}
	if err := write(target, io.TeeReader(content, hasher)); err != nil {
		return err
	}
	if hex.EncodeToString(hasher.Sum(nil)) != digest.Hex {
		return &digestError{digest.String()}
	}
	return nil
}

// unpackLayout unpacks what belongs to an OCI layout, after looking whether the archive holds one. Each blob is
// compared with its name.
func unpackLayout(file, folder string) (bool, error) {
	isLayout := false
	err := members(file, func(header *tar.Header, _ io.Reader) error {
		isLayout = isLayout || path.Clean(header.Name) == archive.MarkerFile
		return nil
	})
	if err != nil || !isLayout {
		return false, err
	}
	return true, members(file, func(header *tar.Header, content io.Reader) error {
		member := path.Clean(header.Name)
		hash, isBlob := blobName(member)
		if !isBlob && member != archive.MarkerFile && member != archive.IndexFile {
			return nil
		}
		target := filepath.Join(folder, filepath.FromSlash(member))
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		if !isBlob {
			return write(target, content)
		}
		return writeBlob(target, content, hash)
	})
}

// blobName is the digest that a member's name says, where it is that of a blob.
func blobName(member string) (v1.Hash, bool) {
	parts := strings.Split(member, "/")
	if len(parts) != 3 || parts[0] != "blobs" {
		return v1.Hash{}, false
	}
	hash, err := v1.NewHash(parts[1] + ":" + parts[2])
	return hash, err == nil
}

// members calls a function for each plain file of an archive.
func members(file string, do func(*tar.Header, io.Reader) error) error {
	source, err := os.Open(file)
	if err != nil {
		return err
	}
	defer source.Close()
	for reader := tar.NewReader(source); ; {
		header, err := reader.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := do(header, reader); err != nil {
			return err
		}
	}
}

func imagesOfLayout(folder string) (map[string]v1.Image, error) {
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	found := map[string]v1.Image{}
	for _, descriptor := range manifest.Manifests {
		reference := annotatedName(descriptor)
		if reference == "" {
			continue
		}
		full, err := fullName(reference)
		if err != nil {
			return nil, err
		}
		if found[full], err = imageOf(index, descriptor); err != nil {
			return nil, fmt.Errorf("%s: %w", reference, err)
		}
	}
	return found, nil
}

// annotatedName is the name of an image; empty where there is only a tag, which names none.
func annotatedName(descriptor v1.Descriptor) string {
	for _, key := range archive.NameAnnotations {
		if value := descriptor.Annotations[key]; strings.ContainsAny(value, "/:@") {
			return value
		}
	}
	return ""
}

// imageOf is the image of a descriptor, or of this machine's platform where it is an index.
func imageOf(index v1.ImageIndex, descriptor v1.Descriptor) (v1.Image, error) {
	if !descriptor.MediaType.IsIndex() {
		return index.Image(descriptor.Digest)
	}
	below, err := index.ImageIndex(descriptor.Digest)
	if err != nil {
		return nil, err
	}
	manifest, err := below.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, each := range manifest.Manifests {
		if each.Platform != nil && each.Platform.Satisfies(platform) {
			return below.Image(each.Digest)
		}
	}
	return nil, &platformError{"other platforms"}
}

// imagesOfDocker returns the images of an archive in Docker's format.
func imagesOfDocker(file string) (map[string]v1.Image, error) {
	opener := func() (io.ReadCloser, error) { return os.Open(file) }
	manifest, err := tarball.LoadManifest(opener)
	if err != nil {
		return nil, err
	}
	found := map[string]v1.Image{}
	for _, descriptor := range manifest {
		for _, reference := range descriptor.RepoTags {
			tag, err := name.NewTag(reference)
			if err != nil {
				return nil, err
			}
			if found[tag.Name()], err = tarball.Image(opener, &tag); err != nil {
				return nil, fmt.Errorf("%s: %w", reference, err)
			}
		}
	}
	return found, nil
}
