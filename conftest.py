"""What all tests share."""

from __future__ import annotations

from importlib.util import find_spec

pytest_plugins = ["pytester"]

if find_spec("hypothesis"):  # only the unit tests need it
    from hypothesis import settings

    # How long an example takes says more about the machine than about the code.
    settings.register_profile("mesh-conformance", deadline=None)
    settings.load_profile("mesh-conformance")
