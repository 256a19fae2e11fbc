"""What istioctl sends to a new cluster, recorded without one and sent to one later."""
