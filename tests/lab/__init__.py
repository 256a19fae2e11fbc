"""What a lab's clusters do for any workload: as Kubernetes elsewhere, without a mesh."""
