"""Stands up clusters, installs an Istio multicluster mesh on them and proves that it works."""
