"""Questions to a mesh. A probe returns a typed value with its source, or raises ProbeError when it
could not observe; it never judges.
"""
