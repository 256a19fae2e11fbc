// The registry of the distribution project, with the storage and the kind of passwords that tests use: its own
// command carries those of all clouds along.
//
//	registry serve CONFIGURATION.yaml
//	registry password USER PASSWORD
//
// The latter prints a line of the file of passwords, as htpasswd -B does.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"golang.org/x/crypto/bcrypt"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "registry: %v\n", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 2 && arguments[0] == "serve":
		return serve(arguments[1])
	case len(arguments) == 3 && arguments[0] == "password":
		hash, err := bcrypt.GenerateFromPassword([]byte(arguments[2]), bcrypt.MinCost)
		if err != nil {
			return err
		}
		fmt.Printf("%s:%s\n", arguments[1], hash)
		return nil
	}
	return fmt.Errorf("usage: registry serve CONFIGURATION.yaml | password USER PASSWORD")
}

func serve(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	settings, err := configuration.Parse(file)
	if err != nil {
		return err
	}
	server, err := registry.NewRegistry(context.Background(), settings)
	if err != nil {
		return err
	}
	return server.ListenAndServe()
}
