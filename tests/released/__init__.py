"""A real registry on loopback, with a password and an authority that nobody else trusts.

What is in it are the project's own images under a release's names.
"""
