package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const patience = 60 * time.Second

// theChildren is the one of this process: there can be only one that reaps.
var theChildren = sync.OnceValue(newChildren)

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

func lines(path string) []string {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(content))
}

func shell(script string, arguments ...string) []string {
	return append([]string{"sh", "-c", script, "sh"}, arguments...)
}

func TestRunOnceReportsHowACommandEnds(t *testing.T) {
	for script, wanted := range map[string]string{
		"exit 0":        "",
		"exit 3":        "status 3",
		"kill -KILL $$": "signal killed",
	} {
		err := theChildren().runOnce(Command{Argv: shell(script)})
		if wanted == "" && err != nil {
			t.Errorf("%s: %v", script, err)
		}
		if wanted != "" && (err == nil || !strings.Contains(err.Error(), wanted)) {
			t.Errorf("%s: wanted %q, got %v", script, wanted, err)
		}
	}
}

func TestRunOnceFailsWithoutProgramOrInput(t *testing.T) {
	if theChildren().runOnce(Command{Argv: []string{"no-such-program"}}) == nil {
		t.Error("a missing program was not reported")
	}
	missing := Command{Argv: shell("exit 0"), Stdin: filepath.Join(t.TempDir(), "missing")}
	if theChildren().runOnce(missing) == nil {
		t.Error("a missing input was not reported")
	}
}

func TestRunOnceReadsItsInput(t *testing.T) {
	folder := t.TempDir()
	input, output := filepath.Join(folder, "input"), filepath.Join(folder, "output")
	if err := os.WriteFile(input, []byte("rules"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := theChildren().runOnce(Command{Argv: shell(`cat > "$1"`, output), Stdin: input}); err != nil {
		t.Fatal(err)
	}
	if got := lines(output); len(got) != 1 || got[0] != "rules" {
		t.Errorf("read %q", got)
	}
}

func TestManyChildrenEndAtOnce(t *testing.T) {
	// one SIGCHLD may stand for several deaths
	var all sync.WaitGroup
	for number := range 50 {
		all.Go(func() {
			err := theChildren().runOnce(Command{Argv: shell(fmt.Sprintf("exit %d", number))})
			if wanted := fmt.Sprintf("status %d", number); number > 0 && (err == nil || !strings.HasSuffix(err.Error(), wanted)) {
				t.Errorf("wanted %s, got %v", wanted, err)
			}
		})
	}
	all.Wait()
}

func TestOrphansAreReaped(t *testing.T) {
	const setChildSubreaper = 36 // PR_SET_CHILD_SUBREAPER: orphans become ours, as they are the first process's
	if _, _, failed := syscall.RawSyscall(syscall.SYS_PRCTL, setChildSubreaper, 1, 0); failed != 0 {
		t.Skipf("prctl: %v", failed)
	}
	file := filepath.Join(t.TempDir(), "pid")
	if err := theChildren().runOnce(Command{Argv: shell(`sleep 0.2 & echo $! > "$1"`, file)}); err != nil {
		t.Fatal(err)
	}
	orphan, err := strconv.Atoi(lines(file)[0])
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the orphan is gone, not a zombie", func() bool {
		return syscall.Kill(orphan, 0) == syscall.ESRCH
	})
}

func TestServiceIsStartedAgainAndItsLogContinued(t *testing.T) {
	folder := t.TempDir()
	starts, log := filepath.Join(folder, "starts"), filepath.Join(folder, "log")
	// the third start stays, so that nothing goes on after the test
	script := `echo $$ >> "$1"; echo said; [ "$(wc -l < "$1")" -lt 3 ] || exec sleep 1000`
	go theChildren().keepRunning(Service{Name: "service", Argv: shell(script, starts), Log: log}, Limits{})
	eventually(t, "the service starts three times", func() bool { return len(lines(log)) == 3 })
	pids := lines(starts)
	last, err := strconv.Atoi(pids[2])
	if err != nil || pids[0] == pids[1] || pids[1] == pids[2] {
		t.Fatalf("started as %q", pids)
	}
	t.Cleanup(func() { _ = syscall.Kill(last, syscall.SIGKILL) })
	if group, err := syscall.Getpgid(last); err != nil || group != last {
		t.Errorf("service %d belongs to the group %d: %v", last, group, err)
	}
}

func TestPauseGrowsAndStartsAnewAfterASteadyRun(t *testing.T) {
	pause := time.Duration(0)
	for _, wanted := range []time.Duration{firstRestart, 2 * firstRestart, 4 * firstRestart} {
		if pause = nextPause(pause, time.Second); pause != wanted {
			t.Errorf("wanted %s, got %s", wanted, pause)
		}
	}
	if pause = nextPause(longestRestart, time.Second); pause != longestRestart {
		t.Errorf("wanted at most %s, got %s", longestRestart, pause)
	}
	if pause = nextPause(longestRestart, steadyAfter+1); pause != firstRestart {
		t.Errorf("wanted %s after a steady run, got %s", firstRestart, pause)
	}
}
