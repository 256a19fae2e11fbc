"""The container image, and deploy/ in a cluster."""
