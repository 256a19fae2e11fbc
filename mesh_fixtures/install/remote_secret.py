"""Guide: Enable Endpoint Discovery. Give an istiod access to another cluster's API server."""

from __future__ import annotations

from typing import Final

from mesh_fixtures.install import ids, names
from mesh_fixtures.install.step import Command, Step
from mesh_fixtures.scenario import RemoteSecret, Scenario

SECTION: Final = "Enable Endpoint Discovery"


def steps(scenario: Scenario) -> tuple[Step, ...]:
    """One step for each remote secret.

    Those of one cluster follow each other: `istioctl create-remote-secret` makes the token of the
    reader's account when there is none, and of two at a time the second fails.
    """
    made: list[Step] = []
    previous: dict[str, str] = {}
    for secret in scenario.remote_secrets:
        after = previous.get(secret.of)
        step = _step(scenario, secret, () if after is None else (after,))
        previous[secret.of] = step.id
        made.append(step)
    return tuple(made)


def _step(scenario: Scenario, secret: RemoteSecret, after: tuple[str, ...]) -> Step:
    of, installed_in = secret.of, secret.installed_in
    server = names.reference(names.api_server_variable(of))
    create = (
        *("istioctl", "create-remote-secret", names.context(of)),
        *(f"--name={of}", f"--server={server}"),
    )
    apply = names.kubectl(installed_in, "apply", "-f", "-")
    is_primary = scenario.cluster(of).is_primary
    return Step(
        id=ids.remote_secret(of=of, installed_in=installed_in),
        cluster=installed_in,
        section=SECTION if is_primary else names.as_remote(of),
        title=f"Give the control plane of {installed_in} access to the API server of {of}",
        needs=(
            *(_reader_account(scenario, of)),
            ids.istiod(installed_in),
            *after,
        ),
        commands=(Command(create, pipe_to=apply),),
        deadline=60,
        observe=(
            names.system_kubectl(of, "get", "serviceaccounts,secrets"),
            names.system_kubectl(installed_in, "get", "secrets"),
        ),
    )


def _reader_account(scenario: Scenario, cluster: str) -> tuple[str, ...]:
    """Steps after which the account exists that the secret's token belongs to."""
    if scenario.cluster(cluster).is_primary:
        return (ids.istiod(cluster),)
    return (ids.control_plane_annotation(cluster), ids.remote(cluster))
