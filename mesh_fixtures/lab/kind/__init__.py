"""Labs of kind clusters (Kubernetes in Docker or Podman containers)."""
