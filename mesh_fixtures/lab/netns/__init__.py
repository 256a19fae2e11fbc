"""Embedded labs: real Kubernetes nodes in network namespaces, no container engine, no registry."""
