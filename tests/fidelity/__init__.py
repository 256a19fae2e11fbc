"""Test suites that others wrote, Kubernetes' and Istio's own, on the embedded lab's clusters."""
