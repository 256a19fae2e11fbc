"""Healthy meshes of kinds that people have: none of them may be called broken.

    with variant.make(target):
        visit = verify(visitor, variant)
    visit.require()

Each variant is data with a context manager that makes it of a mesh that the guide's installation
left, and restores that when it is left, as `inject` of a fault does (`tests/faults`). It is judged
as its owner would: by `mesh-conformance verify` with nothing but kubeconfigs. Add one: a context
manager over a `Target`, and a `Variant`, in the module of its area, whose list is part of
`table.py`.
"""
