"""Meshes broken on purpose, to prove that requirements fail when they should, by the right cause.

    target = Target(view, progress)
    for fault in FAULTS:
        with fault.inject(target):
            detection = detect(mesh, fault.fails, fault.unaffected)

Every fault is data (`table.py`) with a context manager that breaks a mesh when it is entered, and
repairs it when it is left. Add one: a context manager over a `Target` in the module that it belongs
to, and a row of the table. A target's changes are bounded, and wait until they show.
"""
