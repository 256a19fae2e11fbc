"""Which of Istio's configuration is about HelloWorld."""

from __future__ import annotations

from mesh_fixtures.diagnosis.cause import Case
from mesh_fixtures.diagnosis.facts import Configuration
from mesh_fixtures.workloads import host


def is_helloworld(case: Case, of: Configuration, name: str) -> bool:
    """Whether a host's name, within an object, means HelloWorld (source: Istio, DestinationRule).

    Short names are completed by the object's own namespace, and `*` stands for any beginning.
    """
    full = host(case.samples)
    if name.startswith("*"):
        return full.endswith(name[1:])
    if "." not in name:
        return name == "helloworld" and of.namespace == case.samples
    return name == full or full.startswith(f"{name}.")
