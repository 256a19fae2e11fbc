package main

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"time"
)

const (
	pollInterval  = 10 * time.Millisecond
	tryDeadline   = 300 * time.Millisecond
	awaitDeadline = 60 * time.Second
)

// await returns when an address answers: tcp://HOST:PORT and unix://PATH accept a connection,
// https://HOST:PORT/PATH says 200. Every try is a new connection, since a packet that was lost before
// the node's translation rules were there would decide the fate of its connection for good.
func await(service, address string) {
	parsed, err := url.Parse(address)
	if err != nil {
		report("%s does not wait for %s: %v", service, address, err)
		return
	}
	deadline := time.Now().Add(awaitDeadline)
	for time.Now().Before(deadline) {
		if answers(parsed) {
			return
		}
		time.Sleep(pollInterval)
	}
	report("%s starts although %s does not answer after %s", service, address, awaitDeadline)
}

func answers(address *url.URL) bool {
	if address.Scheme == "https" {
		return saysOK(address.String())
	}
	connection, err := net.DialTimeout(address.Scheme, address.Host+address.Path, tryDeadline)
	if err != nil {
		return false
	}
	return connection.Close() == nil
}

// saysOK asks only whether the server is ready; who it is, its clients check for themselves.
func saysOK(address string) bool {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	response, err := client.Get(address)
	if err != nil {
		return false
	}
	return response.Body.Close() == nil && response.StatusCode == http.StatusOK
}
