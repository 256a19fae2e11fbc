"""Runs the product on a second machine, whose kernel and control groups are those that people have.

See README.md in this folder.
"""
