"""Stands up clusters, installs an Istio multicluster mesh on them and proves that it works."""

__version__ = "0.1.0"
"""Of this project; the only place that has it."""
