"""What a mesh must do, one module for each requirement, to be checked from anywhere.

Check a mesh in which HelloWorld and Sleep are deployed:

    with MeshView(lab) as view:
        mesh = ObservedMesh(view, requests=200)
        for requirement in observable(mesh.scenario):
            outcome = requirement.check(mesh)
            print(requirement.id, outcome.result, *outcome.findings)

`Requirement.check` never raises for what it sees: an `Outcome` is "met", "unmet" with findings, or
"inconclusive" with the trouble that kept it from seeing; `Outcome.require` raises instead. Either
way it has figures, what was measured. What several requirements look at, such as `mesh.traffic`,
is observed once, until `mesh.forget()`: call it after changing the mesh. `applicable` also has
those that change the mesh: disruptive ones, which forget by themselves, and those of upgrades.

Add a requirement: a module named after its id, which ends with

    REQUIREMENT = Requirement(id="TRUST-1", level="core", title="...", judge=judge, ...)

That is all: it is found by being there, and from the record follow its test, what is observed
before, the order, where it is skipped, and what it depends on. A requirement of another project is
returned by a hook (`pytest_mesh_requirements`; see docs/add-a-requirement.md). `judge(mesh)` asks
`mesh.view` by probes, compares with `mesh.scenario`, and returns `Outcome.judged(findings,
figures)`. Probes are fields of a dataclass that it takes with a default, `probes: Probes =
Probes()`, so that tests judge recorded observations. It waits for a mesh that may still be
settling for `mesh.patient(SECONDS)` at most. Where it cannot observe it lets ProbeError pass, or
returns `Outcome.inconclusive(error, figures)` to keep its figures. It asserts nothing and keeps
nothing; what is costly and of use to others, it asks by `mesh.once`.
A disruptive one says `disruptive=True`, and changes the mesh only within `disrupting(mesh, ...)`.
"""

from mesh_fixtures.requirements.observed import ObservedMesh
from mesh_fixtures.requirements.registry import REQUIREMENTS, applicable, by_id, known, observable
from mesh_fixtures.requirements.requirement import (
    Figure,
    Level,
    Needs,
    Outcome,
    Requirement,
    Result,
)

__all__ = [
    "REQUIREMENTS",
    "Figure",
    "Level",
    "Needs",
    "ObservedMesh",
    "Outcome",
    "Requirement",
    "Result",
    "applicable",
    "by_id",
    "known",
    "observable",
]
