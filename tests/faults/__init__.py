"""Meshes that are broken on purpose: what fails by each fault, and the cause that is named."""
