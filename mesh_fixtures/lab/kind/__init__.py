"""Labs of kind clusters (Kubernetes in Docker or Podman containers)."""

from mesh_fixtures.lab.kind.lab import KindLab
from mesh_fixtures.lab.kind.provider import KindProvider

__all__ = ["KindLab", "KindProvider"]
