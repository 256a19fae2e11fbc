// mesh-node is the first process of an embedded Kubernetes node. It is started in new mount, PID, UTS
// and IPC namespaces and in the node's network namespace; it builds the node's file system from
// read-only lower folders, runs the setup commands and then supervises the node's services. When it
// ends, the kernel ends everything in the node.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Spec describes one node; the lab writes it as JSON.
type Spec struct {
	Hostname string `json:"hostname"`
	// Group is the folder of the control group that the node's services run in; empty for that of the start.
	Group  string   `json:"group"`
	Root   string   `json:"root"`
	Lowers []string `json:"lowers"`
	Mounts []Mount  `json:"mounts"`
	Path   string   `json:"path"`
	// Sysctls are settings of the network namespace, by their path below /proc/sys.
	Sysctls  map[string]string `json:"sysctls"`
	Setup    []Command         `json:"setup"`
	Services []Service         `json:"services"`
	Limits
}

// Limits are how long services wait for each other, as the machine's speed demands.
type Limits struct {
	// AwaitSeconds is how long an address may take until it answers; after that, whoever wants it starts.
	AwaitSeconds float64 `json:"await_seconds"`
	// AnswerSeconds is how long one answer by HTTPS may take.
	AnswerSeconds float64 `json:"answer_seconds"`
}

func (l Limits) await() time.Duration {
	return time.Duration(l.AwaitSeconds * float64(time.Second))
}

func (l Limits) answer() time.Duration {
	return time.Duration(l.AnswerSeconds * float64(time.Second))
}

// Mount is one mount of the node's file system: Source is a path outside, Target one inside.
type Mount struct {
	Kind     string `json:"kind"`
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"read_only"`
}

// Command runs once, before any service; a failure ends the node.
type Command struct {
	Argv  []string `json:"argv"`
	Stdin string   `json:"stdin"`
}

// Service is kept running until the node ends.
type Service struct {
	Name string   `json:"name"`
	Argv []string `json:"argv"`
	Log  string   `json:"log"`
	// Wants are addresses that must answer before the first start: see await.
	Wants []string `json:"wants"`
}

func main() {
	if len(os.Args) != 2 {
		fail("usage", fmt.Errorf("mesh-node SPEC.json"))
	}
	spec, err := readSpec(os.Args[1])
	if err != nil {
		fail("read the node's description", err)
	}
	if err := joinGroup(spec.Group); err != nil {
		fail("join the control group", err)
	}
	if err := syscall.Sethostname([]byte(spec.Hostname)); err != nil {
		fail("set the host name", err)
	}
	if err := enterRoot(spec); err != nil {
		fail("build the node's file system", err)
	}
	if err := os.Setenv("PATH", spec.Path); err != nil {
		fail("set PATH", err)
	}
	for path, value := range spec.Sysctls {
		if err := os.WriteFile("/proc/sys/"+path, []byte(value), 0o644); err != nil {
			fail("set "+path, err)
		}
	}
	children := newChildren()
	for _, command := range spec.Setup {
		if err := children.runOnce(command); err != nil {
			fail("run "+command.Argv[0], err)
		}
	}
	if len(spec.Services) == 0 {
		return
	}
	report("supervising %d services", len(spec.Services))
	for _, service := range spec.Services {
		go children.keepRunning(service, spec.Limits)
	}
	select {}
}

// joinGroup moves this process, and so all that it will start, into a control group.
func joinGroup(folder string) error {
	if folder == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte("0"), 0)
}

func readSpec(path string) (*Spec, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	spec := &Spec{}
	return spec, json.Unmarshal(content, spec)
}

func report(format string, values ...any) {
	fmt.Fprintf(os.Stderr, "mesh-node: "+format+"\n", values...)
}

func fail(what string, err error) {
	report("cannot %s: %v", what, err)
	os.Exit(1)
}
