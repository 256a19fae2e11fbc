package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

var enough = Limits{AwaitSeconds: 60, AnswerSeconds: 5}

func answering(t *testing.T, address string) bool {
	t.Helper()
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return answers(parsed, enough.answer())
}

func TestListenersAnswer(t *testing.T) {
	for network, address := range map[string]string{
		"tcp":  "127.0.0.1:0",
		"unix": filepath.Join(t.TempDir(), "socket"),
	} {
		listener, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		named := network + "://" + listener.Addr().String()
		if !answering(t, named) {
			t.Errorf("%s does not answer", named)
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		if answering(t, named) {
			t.Errorf("%s answers although it was closed", named)
		}
	}
}

func TestHTTPSMustSayOK(t *testing.T) {
	var status atomic.Int32
	server := httptest.NewTLSServer(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/readyz" {
			writer.WriteHeader(int(status.Load()))
		}
	}))
	defer server.Close()
	for code, wanted := range map[int32]bool{200: true, 500: false, 401: false} {
		status.Store(code)
		if answering(t, server.URL+"/readyz") != wanted {
			t.Errorf("status %d: wanted %v", code, wanted)
		}
	}
	server.Close()
	if answering(t, server.URL+"/readyz") {
		t.Error("a closed server answers")
	}
}

func TestAwaitReturnsWhenTheAddressAnswers(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "late")
	done := make(chan struct{})
	go func() {
		await("service", "unix://"+socket, enough)
		close(done)
	}()
	select {
	case <-done:
		t.Fatal("returned before anything listened")
	case <-time.After(10 * pollInterval):
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	<-done
}

func TestAwaitDoesNotWaitForWhatIsNoAddress(t *testing.T) {
	await("service", "tcp://a b:c", enough)
}

func TestAwaitGivesUpWhenTheDescriptionSaysSo(t *testing.T) {
	begun := time.Now()
	await("service", "unix://"+filepath.Join(t.TempDir(), "never"), Limits{AwaitSeconds: 0.1, AnswerSeconds: 5})
	if taken := time.Since(begun); taken < 100*time.Millisecond || taken > 30*time.Second {
		t.Errorf("gave up after %s", taken)
	}
}

func TestAnswersMayTakeAsLongAsTheDescriptionSays(t *testing.T) {
	hold := make(chan struct{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer server.Close()
	defer close(hold)
	if saysOK(server.URL, Limits{AnswerSeconds: 0.1}.answer()) {
		t.Error("a server that does not answer says OK")
	}
}

func TestADescriptionSetsTheLimits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "node.json")
	if err := os.WriteFile(file, []byte(`{"await_seconds": 150, "answer_seconds": 12.5}`), 0o600); err != nil {
		t.Fatal(err)
	}
	spec, err := readSpec(file)
	if err != nil {
		t.Fatal(err)
	}
	if spec.await() != 150*time.Second || spec.answer() != 12500*time.Millisecond {
		t.Errorf("limits are %v", spec.Limits)
	}
}
