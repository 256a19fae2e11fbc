package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"mesh-conformance/tools/internal/archive"
)

// storedLayer is a layer whose uncompressed archive lies in a file. It implements v1.Layer.
type storedLayer struct {
	path string
	hash v1.Hash
	size int64
}

func (l *storedLayer) Digest() (v1.Hash, error)             { return l.hash, nil }
func (l *storedLayer) DiffID() (v1.Hash, error)             { return l.hash, nil }
func (l *storedLayer) Size() (int64, error)                 { return l.size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }
func (l *storedLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.path) }
func (l *storedLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }

// storeLayer writes the layer's archive to a file and takes its digest on the way.
func storeLayer(layer Layer, target string) (*storedLayer, error) {
	file, err := os.Create(target)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	digest := sha256.New()
	pack := packer{out: tar.NewWriter(io.MultiWriter(file, digest)), folders: map[string]bool{}}
	if err := pack.layer(layer); err != nil {
		return nil, err
	}
	if err := pack.out.Close(); err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	hash := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(digest.Sum(nil))}
	return &storedLayer{path: target, hash: hash, size: info.Size()}, file.Close()
}

// packer writes archive members and remembers which folders it has written.
type packer struct {
	out     *tar.Writer
	folders map[string]bool
}

func (p *packer) layer(layer Layer) error {
	for _, tree := range layer.Trees {
		if err := p.tree(tree); err != nil {
			return err
		}
	}
	for _, folder := range layer.Folders {
		if err := p.folder(folder.To, folder.Mode, folder.Owner); err != nil {
			return err
		}
	}
	for _, file := range layer.Files {
		if err := p.file(file); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) tree(tree Tree) error {
	return filepath.WalkDir(tree.From, func(source string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(tree.From, source)
		if err != nil || relative == "." {
			return err
		}
		if err := p.copy(source, relative, entry); err != nil {
			return fmt.Errorf("%s: %w", source, err)
		}
		if entry.IsDir() && slices.Contains(tree.Skip, relative) {
			return fs.SkipDir
		}
		return nil
	})
}

// copy adds one member of a tree; sockets, pipes and devices are left out.
func (p *packer) copy(source, relative string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(source); err != nil {
			return err
		}
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	header.Name = relative
	if info.IsDir() {
		header.Name += "/"
		p.folders[relative] = true
	}
	// Names and times of access depend on the machine that builds; numbers do not.
	header.Uname, header.Gname = "", ""
	header.AccessTime, header.ChangeTime = time.Time{}, time.Time{}
	header.ModTime = header.ModTime.Truncate(time.Second)
	header.Format = tar.FormatPAX
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		header.Uid, header.Gid = int(owner.Uid), int(owner.Gid)
	}
	if err := p.out.WriteHeader(header); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	return p.content(source)
}

func (p *packer) content(source string) error {
	file, err := os.Open(source)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(p.out, file)
	return err
}

// folder adds a folder and those above it; one that was written before keeps its first mode.
func (p *packer) folder(target, mode string, owner int) error {
	clean := strings.Trim(path.Clean("/"+target), "/")
	if clean == "" || p.folders[clean] {
		return nil
	}
	if err := p.folder(path.Dir("/"+clean), "755", 0); err != nil {
		return err
	}
	bits, err := parseMode(target, mode)
	if err != nil {
		return err
	}
	p.folders[clean] = true
	return p.out.WriteHeader(&tar.Header{
		Typeflag: tar.TypeDir, Name: clean + "/", Mode: bits, Uid: owner, Gid: owner, ModTime: archive.Beginning,
	})
}

func (p *packer) file(file File) error {
	if err := p.folder(path.Dir("/"+file.To), "755", 0); err != nil {
		return err
	}
	bits, err := parseMode(file.To, file.Mode)
	if err != nil {
		return err
	}
	header := &tar.Header{
		Typeflag: tar.TypeReg, Name: strings.TrimLeft(file.To, "/"), Mode: bits,
		Uid: file.Owner, Gid: file.Owner, ModTime: archive.Beginning, Size: int64(len(file.Text)),
	}
	if file.From == "" {
		if err := p.out.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.Copy(p.out, bytes.NewReader([]byte(file.Text)))
		return err
	}
	info, err := os.Stat(file.From)
	if err != nil {
		return err
	}
	header.Size = info.Size()
	if err := p.out.WriteHeader(header); err != nil {
		return err
	}
	return p.content(file.From)
}

func parseMode(target, mode string) (int64, error) {
	bits, err := strconv.ParseInt(mode, 8, 32)
	if err != nil {
		return 0, fmt.Errorf("%s: mode %q is not octal", target, mode)
	}
	return bits, nil
}
