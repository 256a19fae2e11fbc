// Pulls container images from registries into one OCI archive, or takes them out of archives.
//
//	image-pull resolve [FLAGS] NAME...
//	image-pull pull [FLAGS] ARCHIVE NAME@DIGEST...
//	image-pull list ARCHIVE...
//
// What came of it is written as JSON to standard output, also where an image cannot be had: see Result. The
// exit status is 0 then, and 1 only where the program itself cannot be used like that.
//
// Credentials are those of Docker's client: ~/.docker/config.json (or in $DOCKER_CONFIG) with its credential
// helpers. Proxies and the certificates of authorities come from the environment, as Go has it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Result is what came of a call.
type Result struct {
	Images map[string]Found `json:"images,omitempty"`
	Error  *Failure         `json:"error,omitempty"`
}

// Found is an image, by the name that was asked for.
type Found struct {
	Digest string `json:"digest"`
	// From is the registry, mirror or archive that has it.
	From   string            `json:"from"`
	Labels map[string]string `json:"labels,omitempty"`
}

// mirrors are other places of a registry's repositories, by its name.
type mirrors map[string][]string

func (m mirrors) String() string { return fmt.Sprint(map[string][]string(m)) }

func (m mirrors) Set(value string) error {
	registry, place, found := strings.Cut(value, "=")
	if !found || registry == "" || place == "" {
		return fmt.Errorf("%q is not REGISTRY=URL", value)
	}
	key := registryKey(registry)
	m[key] = append(m[key], place)
	return nil
}

func main() {
	result, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "image-pull: %v\n", err)
		os.Exit(1)
	}
	if err := json.NewEncoder(os.Stdout).Encode(result); err != nil {
		os.Exit(1)
	}
}

func run(arguments []string) (Result, error) {
	if len(arguments) == 0 {
		return Result{}, fmt.Errorf("wanted resolve, pull or list")
	}
	flags := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	places := mirrors{}
	flags.Var(places, "mirror", "REGISTRY=URL to ask first; repeatable")
	authority := flags.String("ca", "", "PEM file of authorities to trust, besides the machine's")
	seconds := flags.Float64("seconds", 60, "for all of it")
	stalled := flags.Float64("stalled", 30, "seconds without an answer, or a byte of it, that end a try")
	tries := flags.Int("tries", 4, "of each request that may succeed when it is repeated")
	scratch := flags.String("scratch", "", "folder for what is on its way; the system's by default")
	var archives list
	flags.Var(&archives, "from", "archive to take images from, in place of registries; repeatable")
	if err := flags.Parse(arguments[1:]); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), duration(*seconds))
	defer cancel()
	folder, err := os.MkdirTemp(*scratch, "image-pull-")
	if err != nil {
		return Result{Error: failure("", "", err)}, nil
	}
	defer os.RemoveAll(folder)
	names := flags.Args()
	if arguments[0] == "list" {
		return listArchives(names, folder), nil
	}
	var source source
	if len(archives) > 0 {
		source = &archiveSource{files: archives, scratch: folder}
	} else if source, err = newRegistries(ctx, places, *authority, duration(*stalled), *tries); err != nil {
		return Result{Error: failure("", *authority, err)}, nil
	}
	switch {
	case arguments[0] == "resolve" && len(names) > 0:
		return resolve(source, names), nil
	case arguments[0] == "pull" && len(names) > 1:
		return pull(ctx, source, names[0], names[1:], folder, *tries), nil
	}
	return Result{}, fmt.Errorf("cannot be used like that: %s", strings.Join(arguments, " "))
}

// list is a flag that may be repeated.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second))
}
