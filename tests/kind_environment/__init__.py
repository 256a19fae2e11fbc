"""Runs a command where a real Docker Engine can make kind clusters, on machines that have none.

See README.md in this folder.
"""
