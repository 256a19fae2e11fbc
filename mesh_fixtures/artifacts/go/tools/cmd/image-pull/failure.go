package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Failure says why an image cannot be had, for a program and for people.
type Failure struct {
	// Kind is one of the constants below.
	Kind  string `json:"kind"`
	Image string `json:"image"`
	// Place is the registry, mirror or file that was asked.
	Place   string `json:"place"`
	Message string `json:"message"`
	// RetryAfter is what the registry asks for, in seconds; 0 where it does not.
	RetryAfter float64 `json:"retryAfter,omitempty"`
}

const (
	unauthorized = "unauthorized"
	forbidden    = "forbidden"
	notFound     = "not-found"
	rateLimited  = "rate-limited"
	refused      = "refused"
	unreachable  = "unreachable"
	brokenOff    = "broken-off"
	wrongDigest  = "digest"
	certificate  = "certificate"
	noPlatform   = "platform"
	diskFull     = "disk"
	badName      = "name"
	badArchive   = "archive"
	other        = "other"
)

// digestError is content that is not what its digest stands for.
type digestError struct{ wanted string }

func (e *digestError) Error() string { return "the content does not have the digest " + e.wanted }

// platformError is an image for another kind of machine.
type platformError struct{ is string }

func (e *platformError) Error() string {
	return fmt.Sprintf("it is for %s, and not for %s/%s", e.is, platform.OS, platform.Architecture)
}

// certificateFileError is a file that should hold authorities' certificates.
type certificateFileError struct{ file string }

func (e *certificateFileError) Error() string { return e.file + " holds no PEM certificate" }

// archiveError is an archive that cannot be read.
type archiveError struct{ error }

func (e *archiveError) Unwrap() error { return e.error }

// absentError is an image that no archive holds.
type absentError struct{ error }

func failure(image, place string, err error) *Failure {
	return &Failure{Kind: kindOf(err), Image: image, Place: place, Message: strings.TrimSpace(err.Error())}
}

func kindOf(err error) string {
	var (
		digest     *digestError
		platform   *platformError
		authority  *certificateFileError
		archive    *archiveError
		absent     *absentError
		reference  *name.ErrBadName
		answer     *transport.Error
		unknown    x509.UnknownAuthorityError
		hostname   x509.HostnameError
		invalid    x509.CertificateInvalidError
		unverified *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return diskFull
	case errors.As(err, &digest), isMismatch(err):
		return wrongDigest
	case errors.As(err, &platform), strings.Contains(err.Error(), "no child with platform"):
		return noPlatform
	case errors.As(err, &absent):
		return notFound
	case errors.As(err, &archive):
		return badArchive
	case errors.As(err, &authority), errors.As(err, &unknown), errors.As(err, &hostname),
		errors.As(err, &invalid), errors.As(err, &unverified):
		return certificate
	case errors.As(err, &answer):
		return kindOfStatus(answer.StatusCode)
	case errors.As(err, &reference):
		return badName
	case isBrokenOff(err):
		return brokenOff
	case isTransient(err), isUnreachable(err):
		return unreachable
	}
	return other
}

// isMismatch tells whether what reads from a registry has found other content than it asked for; it has no type
// for that.
func isMismatch(err error) bool {
	for _, text := range []string{"does not match requested digest", "does not match expected size", "error verifying"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

func kindOfStatus(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return unauthorized
	case status == http.StatusForbidden:
		return forbidden
	case status == http.StatusNotFound:
		return notFound
	case status == http.StatusTooManyRequests:
		return rateLimited
	case status >= http.StatusInternalServerError, status == http.StatusRequestTimeout:
		return unreachable
	}
	return refused
}

func isBrokenOff(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// isTransient tells whether the same may succeed later. What the network says of itself, such as that there is
// no route, is not: it would hold up those who have none.
func isTransient(err error) bool {
	var timeout net.Error
	return isBrokenOff(err) || errors.As(err, &timeout) && timeout.Timeout() &&
		!errors.Is(err, context.DeadlineExceeded)
}

func isUnreachable(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded)
}
