package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// platform is that of the machine whose nodes run the images.
var platform = v1.Platform{OS: "linux", Architecture: runtime.GOARCH}

// longestWait is how long a registry may ask for patience before that is an error.
const longestWait = 30 * time.Second

// source is where images come from.
type source interface {
	// resolve returns the digest that a name stands for, and where.
	resolve(reference string) (digest, from string, err *Failure)
	// image returns an image by its digest, and where it comes from.
	image(reference, digest string) (image v1.Image, from string, err *Failure)
}

// registries take images from their registries, or from mirrors of these.
type registries struct {
	ctx     context.Context
	mirrors mirrors
	options []remote.Option
	retry   *retrying
}

func newRegistries(ctx context.Context, places mirrors, authority string, stalled time.Duration, tries int) (*registries, error) {
	transport := remote.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = stalled
	transport.TLSHandshakeTimeout = stalled
	if authority != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		content, err := os.ReadFile(authority)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(content) {
			return nil, &certificateFileError{authority}
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	retry := &retrying{next: transport, tries: tries, stalled: stalled}
	return &registries{
		ctx:     ctx,
		mirrors: places,
		retry:   retry,
		options: []remote.Option{
			remote.WithContext(ctx),
			remote.WithTransport(retry),
			// repeated by `retrying` alone, which knows what a registry asks for
			remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
			remote.WithRetryStatusCodes(),
			remote.WithAuthFromKeychain(authn.DefaultKeychain),
			remote.WithPlatform(platform),
			remote.WithUserAgent("mesh-conformance"),
		},
	}, nil
}

// registryKey is the one name of a registry that has several, as Docker Hub has.
func registryKey(registry string) string {
	if parsed, err := name.NewRegistry(registry); err == nil {
		return parsed.RegistryStr()
	}
	return registry
}

// places are the repositories to ask for an image, mirrors first.
func (r *registries) places(reference string) ([]name.Repository, error) {
	parsed, err := name.ParseReference(reference)
	if err != nil {
		return nil, err
	}
	own := parsed.Context()
	var found []name.Repository
	for _, mirror := range r.mirrors[own.RegistryStr()] {
		place, err := mirrored(mirror, own.RepositoryStr())
		if err != nil {
			return nil, err
		}
		found = append(found, place)
	}
	return append(found, own), nil
}

// mirrored is a repository below a mirror's URL, or below its host and path alone.
func mirrored(mirror, repository string) (name.Repository, error) {
	if !strings.Contains(mirror, "://") {
		mirror = "https://" + mirror
	}
	place, err := url.Parse(mirror)
	if err != nil {
		return name.Repository{}, err
	}
	var options []name.Option
	if place.Scheme == "http" {
		options = append(options, name.Insecure)
	}
	below := strings.Trim(place.Path, "/")
	return name.NewRepository(strings.Join(nonEmpty(place.Host, below, repository), "/"), options...)
}

func nonEmpty(parts ...string) []string {
	var found []string
	for _, part := range parts {
		if part != "" {
			found = append(found, part)
		}
	}
	return found
}

func (r *registries) resolve(reference string) (string, string, *Failure) {
	parsed, err := name.ParseReference(reference)
	if err != nil {
		return "", "", failure(reference, "", err)
	}
	var digest string
	from, failed := r.first(reference, func(repository name.Repository) error {
		descriptor, err := remote.Head(withIdentifier(repository, parsed), r.options...)
		if err != nil {
			return err
		}
		digest = descriptor.Digest.String()
		return nil
	})
	return digest, from, failed
}

func withIdentifier(repository name.Repository, reference name.Reference) name.Reference {
	if digest, ok := reference.(name.Digest); ok {
		return repository.Digest(digest.DigestStr())
	}
	return repository.Tag(reference.Identifier())
}

func (r *registries) image(reference, digest string) (v1.Image, string, *Failure) {
	var image v1.Image
	from, failed := r.first(reference, func(repository name.Repository) error {
		found, err := remote.Image(repository.Digest(digest), r.options...)
		if err != nil {
			return err
		}
		config, err := found.ConfigFile()
		if err != nil {
			return err
		}
		if config.Architecture != platform.Architecture || config.OS != platform.OS {
			return &platformError{config.OS + "/" + config.Architecture}
		}
		image = found
		return nil
	})
	return image, from, failed
}

// first asks one place after another until one has it. Where none has, what the first said counts, as the
// others are only asked in its stead.
func (r *registries) first(reference string, ask func(name.Repository) error) (string, *Failure) {
	places, err := r.places(reference)
	if err != nil {
		return "", failure(reference, "", err)
	}
	var failed *Failure
	for _, place := range places {
		err := repeat(r.ctx, r.retry.tries, func() error { return ask(place) })
		if err == nil {
			return place.RegistryStr(), nil
		}
		next := failure(reference, place.RegistryStr(), err)
		next.RetryAfter = r.retry.asked(place.RegistryStr())
		if failed == nil {
			failed = next
		} else {
			failed.Message += fmt.Sprintf("; then %s: %s", next.Place, next.Message)
		}
	}
	return "", failed
}

// retrying repeats requests whose answer says that they may succeed later: at most `tries` times, with growing
// pauses, or after as long as the server asks for where that is not too long. It also ends a body that stalls.
type retrying struct {
	next    http.RoundTripper
	tries   int
	stalled time.Duration
	mutex   sync.Mutex
	// wanted is what hosts asked for by Retry-After in their last answer, in seconds.
	wanted map[string]float64
}

func (r *retrying) RoundTrip(request *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		response, err := r.once(request)
		if err != nil {
			return response, err
		}
		wait := pause(try)
		asked, given := retryAfter(response.Header.Get("Retry-After"))
		r.remember(request.URL.Host, asked)
		if given {
			wait = asked
		}
		repeatable := request.Body == nil && try < r.tries && wait <= longestWait
		if !repeatable || !mayPass(response.StatusCode) {
			return response, nil
		}
		io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16))
		response.Body.Close()
		if err := sleep(request.Context(), wait); err != nil {
			return nil, err
		}
	}
}

// pause is how long to wait after a try that failed; the first is 1.
func pause(try int) time.Duration {
	return time.Duration(1<<(try-1)) * 500 * time.Millisecond
}

func sleep(ctx context.Context, wait time.Duration) error {
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// repeat does something again that broke off, at most `tries` times.
func repeat(ctx context.Context, tries int, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if err == nil || try >= tries || !isTransient(err) {
			return err
		}
		if ended := sleep(ctx, pause(try)); ended != nil {
			return fmt.Errorf("%w (before that: %w)", ended, err)
		}
	}
}

// once sends a request whose answer's body is ended when it stalls.
func (r *retrying) once(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(request.Context())
	response, err := r.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		cancel()
		return response, err
	}
	response.Body = &watchedBody{
		ReadCloser: response.Body,
		stalled:    r.stalled,
		timer:      time.AfterFunc(r.stalled, cancel),
		cancel:     cancel,
	}
	// as the redirects and errors of those who read it tell
	response.Request = request
	return response, nil
}

// watchedBody is given up when it yields nothing for too long.
type watchedBody struct {
	io.ReadCloser
	stalled time.Duration
	timer   *time.Timer
	cancel  context.CancelFunc
}

func (b *watchedBody) Read(into []byte) (int, error) {
	b.timer.Reset(b.stalled)
	count, err := b.ReadCloser.Read(into)
	b.timer.Stop()
	if errors.Is(err, context.Canceled) {
		err = fmt.Errorf("%w: no byte came for %s", io.ErrUnexpectedEOF, b.stalled)
	}
	return count, err
}

func (b *watchedBody) Close() error {
	b.timer.Stop()
	err := b.ReadCloser.Close()
	b.cancel()
	return err
}

// mayPass tells whether the same request may succeed later.
func mayPass(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter reads the header of that name (RFC 9110, 10.2.3).
func retryAfter(value string) (time.Duration, bool) {
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at)), true
	}
	return 0, false
}

func (r *retrying) remember(host string, asked time.Duration) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.wanted == nil {
		r.wanted = map[string]float64{}
	}
	r.wanted[host] = asked.Seconds()
}

func (r *retrying) asked(host string) float64 {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.wanted[host]
}
