package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// hub is a registry on loopback whose answers can be changed on their way.
type hub struct {
	*httptest.Server
	host string
	// spoil may answer a request itself; it says whether it did.
	spoil func(http.ResponseWriter, *http.Request) bool
	asked atomic.Int32
}

func newHub(t *testing.T, isSecure bool) *hub {
	t.Helper()
	// whatever credentials the one who runs this has
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	content := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	made := &hub{}
	made.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		made.asked.Add(1)
		if made.spoil == nil || !made.spoil(w, r) {
			content.ServeHTTP(w, r)
		}
	}))
	made.Config.ErrorLog = log.New(io.Discard, "", 0)
	if isSecure {
		made.StartTLS()
	} else {
		made.Start()
	}
	t.Cleanup(made.Close)
	made.host = strings.TrimPrefix(strings.TrimPrefix(made.URL, "https://"), "http://")
	return made
}

// push puts an image there, with a label and of this machine's platform.
func (h *hub) push(t *testing.T, repository string) (reference string, image v1.Image) {
	t.Helper()
	image, err := random.Image(4096, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = platform.OS, platform.Architecture
	config.Config.Labels = map[string]string{"made": "here"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(h.host + "/" + repository + ":1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, image, remote.WithTransport(h.Client().Transport)); err != nil {
		t.Fatal(err)
	}
	h.asked.Store(0)
	return tag.String(), image
}

func call(t *testing.T, arguments ...string) Result {
	t.Helper()
	result, err := run(arguments)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func digestOf(t *testing.T, image v1.Image) string {
	t.Helper()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func TestPulledArchiveHoldsTheImage(t *testing.T) {
	hub := newHub(t, false)
	reference, image := hub.push(t, "istio/pilot")
	digest := digestOf(t, image)
	resolved := call(t, "resolve", reference)
	if resolved.Error != nil || resolved.Images[reference].Digest != digest {
		t.Fatalf("resolved: %+v", resolved)
	}
	file := filepath.Join(t.TempDir(), "images.tar")
	pulled := call(t, "pull", file, reference+"@"+digest)
	if pulled.Error != nil || pulled.Images[reference].Labels["made"] != "here" {
		t.Fatalf("pulled: %+v", pulled)
	}
	listed := call(t, "list", file)
	if listed.Images[reference].Digest != digest {
		t.Errorf("listed: %+v", listed)
	}
	again := filepath.Join(t.TempDir(), "images.tar")
	copied := call(t, "pull", "--from", file, again, reference+"@"+digest)
	if copied.Error != nil || copied.Images[reference].Labels["made"] != "here" {
		t.Fatalf("copied: %+v", copied)
	}
	first, _ := os.ReadFile(file)
	second, _ := os.ReadFile(again)
	if !bytes.Equal(first, second) {
		t.Error("the archives differ")
	}
}

// isBlob tells the request for a layer or a configuration.
func isBlob(request *http.Request) bool {
	return request.Method == http.MethodGet && strings.Contains(request.URL.Path, "/blobs/")
}

func TestFailures(t *testing.T) {
	answer := func(status int, headers ...string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v2/" {
				return false
			}
			for _, header := range headers {
				key, value, _ := strings.Cut(header, ": ")
				w.Header().Set(key, value)
			}
			w.WriteHeader(status)
			return true
		}
	}
	cutOff := func(w http.ResponseWriter, r *http.Request) bool {
		if isBlob(r) {
			w.Header().Set("Content-Length", "4096")
			w.Write(make([]byte, 100))
			panic(http.ErrAbortHandler)
		}
		return false
	}
	other := func(w http.ResponseWriter, r *http.Request) bool {
		if isBlob(r) {
			w.Write(bytes.Repeat([]byte("x"), 1<<20))
			return true
		}
		return false
	}
	for kind, spoil := range map[string]func(http.ResponseWriter, *http.Request) bool{
		unauthorized: answer(http.StatusUnauthorized),
		forbidden:    answer(http.StatusForbidden),
		notFound:     answer(http.StatusNotFound),
		rateLimited:  answer(http.StatusTooManyRequests, "Retry-After: 3600"),
		refused:      answer(http.StatusTeapot),
		unreachable:  answer(http.StatusServiceUnavailable, "Retry-After: 0"),
		brokenOff:    cutOff,
		wrongDigest:  other,
	} {
		t.Run(kind, func(t *testing.T) {
			hub := newHub(t, false)
			reference, image := hub.push(t, "istio/pilot")
			hub.spoil = spoil
			folder := t.TempDir()
			file := filepath.Join(folder, "images.tar")
			result := call(t, "pull", "--tries", "2", "--scratch", folder, file, reference+"@"+digestOf(t, image))
			if result.Error == nil || result.Error.Kind != kind || result.Error.Place != hub.host {
				t.Errorf("%+v", result.Error)
			}
			if kind == rateLimited && result.Error.RetryAfter != 3600 {
				t.Errorf("retry after %v s", result.Error.RetryAfter)
			}
			if left, _ := os.ReadDir(folder); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestWhatIsTemporaryIsTriedAgain(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter){
		"429": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"503": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
		},
		"cut off": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "4096")
			w.Write(make([]byte, 100))
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			hub := newHub(t, false)
			reference, image := hub.push(t, "istio/pilot")
			layers, err := image.Layers()
			if err != nil {
				t.Fatal(err)
			}
			digest, err := layers[0].Digest()
			if err != nil {
				t.Fatal(err)
			}
			var spoiled atomic.Bool
			hub.spoil = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, digest.Hex) || spoiled.Swap(true) {
					return false
				}
				answer(w)
				return true
			}
			file := filepath.Join(t.TempDir(), "images.tar")
			if result := call(t, "pull", file, reference+"@"+digestOf(t, image)); result.Error != nil {
				t.Errorf("%+v", result.Error)
			}
			if !spoiled.Load() {
				t.Error("nothing was spoiled")
			}
		})
	}
}

func TestRefusalsAreNotTriedAgain(t *testing.T) {
	hub := newHub(t, false)
	reference, _ := hub.push(t, "istio/pilot")
	hub.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	if result := call(t, "resolve", reference); result.Error == nil || result.Error.Kind != forbidden {
		t.Fatalf("%+v", result)
	}
	// by https and by http, as it is on loopback
	if asked := hub.asked.Load(); asked > 2 {
		t.Errorf("asked %d times", asked)
	}
}

func TestAuthorities(t *testing.T) {
	hub := newHub(t, true)
	reference, image := hub.push(t, "istio/pilot")
	result := call(t, "resolve", reference)
	if result.Error == nil || result.Error.Kind != certificate {
		t.Fatalf("%+v", result)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hub.Certificate().Raw})
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	result = call(t, "resolve", "--ca", file, reference)
	if result.Error != nil || result.Images[reference].Digest != digestOf(t, image) {
		t.Errorf("%+v", result)
	}
	if err := os.WriteFile(file, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if result = call(t, "resolve", "--ca", file, reference); result.Error == nil || result.Error.Kind != certificate {
		t.Errorf("%+v", result)
	}
}

func TestMirrorsAreAskedFirst(t *testing.T) {
	mirror := newHub(t, false)
	_, image := mirror.push(t, "hub/istio/pilot")
	reference := "docker.io/istio/pilot:1"
	for _, place := range []string{mirror.URL + "/hub", mirror.host + "/hub"} {
		result := call(t, "resolve", "--mirror", "docker.io="+place, reference)
		if result.Error != nil || result.Images[reference].Digest != digestOf(t, image) {
			t.Errorf("%s: %+v", place, result.Error)
		}
		if from := result.Images[reference].From; from != mirror.host {
			t.Errorf("from %s", from)
		}
	}
	own := newHub(t, false)
	reference, image = own.push(t, "istio/pilot")
	result := call(t, "resolve", "--mirror", own.host+"="+mirror.URL, reference)
	if result.Error != nil || result.Images[reference].From != own.host {
		t.Errorf("%+v", result)
	}
	own.spoil = func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	result = call(t, "resolve", "--mirror", own.host+"="+mirror.URL, reference)
	if result.Error == nil || result.Error.Kind != notFound || !strings.Contains(result.Error.Message, own.host) {
		t.Errorf("%+v", result.Error)
	}
}

func TestAnotherPlatformIsRefused(t *testing.T) {
	hub := newHub(t, false)
	reference, image := hub.push(t, "istio/pilot")
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Architecture = "s390x"
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	tag, _ := name.NewTag(reference)
	if err := remote.Write(tag, image); err != nil {
		t.Fatal(err)
	}
	result := call(t, "pull", filepath.Join(t.TempDir(), "images.tar"), reference+"@"+digestOf(t, image))
	if result.Error == nil || result.Error.Kind != noPlatform {
		t.Errorf("%+v", result)
	}
}

// saved writes an archive as Docker does.
func saved(t *testing.T, reference string, image v1.Image) string {
	t.Helper()
	tag, err := name.NewTag(reference)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "saved.tar")
	if err := tarball.WriteToFile(file, tag, image); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestArchivesOfDocker(t *testing.T) {
	hub := newHub(t, false)
	_, image := hub.push(t, "istio/pilot")
	reference := "docker.io/istio/pilot:1"
	plain := saved(t, reference, image)
	content, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	writer.Write(content)
	writer.Close()
	compressed := plain + ".gz"
	if err := os.WriteFile(compressed, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{plain, compressed} {
		resolved := call(t, "resolve", "--from", file, reference)
		if resolved.Error != nil {
			t.Fatalf("%+v", resolved.Error)
		}
		target := filepath.Join(t.TempDir(), "images.tar")
		pulled := call(t, "pull", "--from", file, target, reference+"@"+resolved.Images[reference].Digest)
		if pulled.Error != nil || pulled.Images[reference].Labels["made"] != "here" {
			t.Errorf("%s: %+v", file, pulled)
		}
	}
	absent := call(t, "resolve", "--from", plain, "docker.io/istio/proxyv2:1")
	if absent.Error == nil || absent.Error.Kind != notFound {
		t.Errorf("%+v", absent)
	}
}

func TestArchivesThatCannotBeUsed(t *testing.T) {
	hub := newHub(t, false)
	reference, image := hub.push(t, "istio/pilot")
	whole := filepath.Join(t.TempDir(), "images.tar")
	if result := call(t, "pull", whole, reference+"@"+digestOf(t, image)); result.Error != nil {
		t.Fatalf("%+v", result.Error)
	}
	content, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for kind, bad := range map[string][]byte{
		badArchive:  content[:len(content)/2],
		wrongDigest: tampered(t, content),
	} {
		file := filepath.Join(t.TempDir(), "bad.tar")
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		result := call(t, "resolve", "--from", file, reference)
		if result.Error == nil || result.Error.Kind != kind || result.Error.Place != file {
			t.Errorf("%s: %+v", kind, result.Error)
		}
	}
}

// tampered is the archive with one byte of its first blob changed.
func tampered(t *testing.T, content []byte) []byte {
	t.Helper()
	reader := tar.NewReader(bytes.NewReader(content))
	var written bytes.Buffer
	writer := tar.NewWriter(&written)
	isFirst := true
	for {
		header, err := reader.Next()
		if err == io.EOF {
			writer.Close()
			return written.Bytes()
		}
		if err != nil {
			t.Fatal(err)
		}
		member, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if isFirst {
			member[0] ^= 1
			isFirst = false
		}
		if err := writer.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := writer.Write(member); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWrongUse(t *testing.T) {
	for _, arguments := range [][]string{{}, {"resolve"}, {"pull", "archive"}, {"push", "x", "y"}, {"resolve", "--mirror", "x", "y"}} {
		if result, err := run(arguments); err == nil {
			t.Errorf("%v: %+v", arguments, result)
		}
	}
	result := call(t, "resolve", "Not A Name")
	if result.Error == nil || result.Error.Kind != badName {
		t.Errorf("%+v", result)
	}
}

func TestResultsAreJSON(t *testing.T) {
	content, err := json.Marshal(Result{Error: failure("a:1", "b", fmt.Errorf("c"))})
	if err != nil {
		t.Fatal(err)
	}
	if string(content) != `{"error":{"kind":"other","image":"a:1","place":"b","message":"c"}}` {
		t.Errorf("%s", content)
	}
}
