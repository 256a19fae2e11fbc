package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	pollInterval = 10 * time.Millisecond
	// tryDeadline is for the kernel to accept a connection: shorter than it takes to send a lost packet again.
	tryDeadline = 300 * time.Millisecond
)

// await returns when an address answers: tcp://HOST:PORT and unix://PATH accept a connection,
// https://HOST:PORT/PATH says 200. Every try is a new connection, since a packet that was lost before
// the node's translation rules were there would decide the fate of its connection for good.
func await(service, address string, limits Limits) {
	parsed, err := url.Parse(address)
	if err != nil {
		report("%s does not wait for %s: %v", service, address, err)
		return
	}
	longest := limits.await()
	deadline := time.Now().Add(longest)
	for time.Now().Before(deadline) {
		if answers(parsed, limits.answer()) {
			return
		}
		time.Sleep(pollInterval)
	}
	report("%s starts although %s does not answer after %s", service, address, longest)
}

func answers(address *url.URL, longest time.Duration) bool {
	if address.Scheme == "https" {
		return saysOK(address.String(), longest)
	}
	connection, err := net.DialTimeout(address.Scheme, address.Host+address.Path, tryDeadline)
	if err != nil {
		return false
	}
	return connection.Close() == nil
}

// saysOK asks only whether the server is ready; who it is, its clients check for themselves.
func saysOK(address string, longest time.Duration) bool {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: longest}
	response, err := client.Get(address)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}
