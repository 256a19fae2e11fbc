package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const (
	firstRestart   = 100 * time.Millisecond
	longestRestart = 5 * time.Second
	steadyAfter    = 10 * time.Second
)

// children starts processes and, being the first process of its namespace, reaps every orphan too.
type children struct {
	mutex   sync.Mutex
	waiting map[int]chan syscall.WaitStatus
}

func newChildren() *children {
	allowAllFiles()
	c := &children{waiting: map[int]chan syscall.WaitStatus{}}
	deaths := make(chan os.Signal, 1)
	signal.Notify(deaths, syscall.SIGCHLD)
	go func() {
		for range deaths {
			c.reap()
		}
	}()
	return c
}

// allowAllFiles passes the hard limit of open files on to every service; set explicitly, because the Go
// runtime gives children the original soft limit otherwise.
func allowAllFiles() {
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	if err == nil {
		limit.Cur = limit.Max
		err = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
	if err != nil {
		report("keeping the inherited limit of open files: %v", err)
	}
}

func (c *children) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if pid <= 0 {
			return
		}
		c.mutex.Lock()
		ended := c.waiting[pid]
		delete(c.waiting, pid)
		c.mutex.Unlock()
		if ended != nil {
			ended <- status
		}
	}
}

func (c *children) start(argv []string, files []*os.File) (<-chan syscall.WaitStatus, error) {
	program, err := exec.LookPath(argv[0])
	if err != nil {
		return nil, err
	}
	attributes := &os.ProcAttr{Dir: "/", Env: os.Environ(), Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}
	// The lock keeps the reaper from looking a child up before it is known.
	c.mutex.Lock()
	defer c.mutex.Unlock()
	process, err := os.StartProcess(program, argv, attributes)
	if err != nil {
		return nil, err
	}
	ended := make(chan syscall.WaitStatus, 1)
	c.waiting[process.Pid] = ended
	return ended, process.Release()
}

func (c *children) runOnce(command Command) error {
	input := command.Stdin
	if input == "" {
		input = os.DevNull
	}
	stdin, err := os.Open(input)
	if err != nil {
		return err
	}
	defer stdin.Close()
	ended, err := c.start(command.Argv, []*os.File{stdin, os.Stdout, os.Stderr})
	if err != nil {
		return err
	}
	if status := <-ended; status.ExitStatus() != 0 {
		return fmt.Errorf("%v ended with %s", command.Argv, describe(status))
	}
	return nil
}

// keepRunning starts a service when what it wants is there, and again whenever it ends.
func (c *children) keepRunning(service Service, limits Limits) {
	for _, address := range service.Wants {
		await(service.Name, address, limits)
	}
	pause := time.Duration(0)
	for {
		begun := time.Now()
		status, err := c.runService(service)
		if err != nil {
			report("%s cannot start: %v", service.Name, err)
		} else {
			now := time.Now().UTC().Format(time.RFC3339)
			report("%s ended at %s with %s after %.1f s", service.Name, now, describe(status), time.Since(begun).Seconds())
		}
		pause = nextPause(pause, time.Since(begun))
		time.Sleep(pause)
	}
}

// nextPause says how long to wait before a service starts again: longer each time that it ends soon.
func nextPause(last, ran time.Duration) time.Duration {
	if last == 0 || ran > steadyAfter {
		return firstRestart
	}
	return min(2*last, longestRestart)
}

func (c *children) runService(service Service) (syscall.WaitStatus, error) {
	log, err := os.OpenFile(service.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer stdin.Close()
	ended, err := c.start(service.Argv, []*os.File{stdin, log, log})
	if err != nil {
		return 0, err
	}
	return <-ended, nil
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "signal " + status.Signal().String()
	}
	return fmt.Sprintf("status %d", status.ExitStatus())
}
