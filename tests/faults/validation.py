"""Faults of the webhook by which istiod validates configuration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mesh_fixtures.kube.resources import VALIDATING_WEBHOOKS
from tests.faults.target import Target

_GONE: Final = "istiod-of-an-old-revision"
_KIND: Final = "validatingwebhookconfiguration"


@contextmanager
def at_a_missing_service(target: Target) -> Iterator[None]:
    """The webhooks of the last primary's istiod name a Service that there is not. istiod gives them
    its root again, and not their Service.
    """
    cluster = target.scenario.primaries[-1].name
    given = {
        (each.meta.name, at): webhook.service.partition("/")[2]
        for each in target.kube[cluster].list(VALIDATING_WEBHOOKS)
        for at, webhook in enumerate(each.webhooks)
        if webhook.service.startswith(f"{target.system_namespace}/")
    }

    def name(configuration: str, at: int, service: str) -> None:
        path = f"/webhooks/{at}/clientConfig/service/name"
        change = json.dumps([{"op": "replace", "path": path, "value": service}])
        target.kubectl(cluster, "patch", _KIND, configuration, "--type=json", "-p", change)

    try:
        for configuration, at in given:
            name(configuration, at, _GONE)
        yield
    finally:
        for (configuration, at), service in given.items():
            name(configuration, at, service)
