package main

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

func TestBuriesChildrenAndEndsOnSIGTERM(t *testing.T) {
	// until the program listens, the signal must not end the test
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGTERM)
	defer signal.Stop(ignored)
	ended := make(chan struct{})
	go func() {
		main()
		close(ended)
	}()

	deadline := time.After(60 * time.Second)
	child := 0
	for buried := false; !buried; {
		// a child that ended before the program listened waits for the next one's end
		started, err := syscall.ForkExec("/bin/true", []string{"true"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if child == 0 {
			child = started
		}
		select {
		case <-ended:
			t.Fatal("ended although nothing told it to")
		case <-deadline:
			t.Fatal("the child is still there")
		case <-time.After(20 * time.Millisecond):
			buried = syscall.Kill(child, 0) == syscall.ESRCH
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case <-deadline:
		t.Fatal("still there after SIGTERM")
	}
}
