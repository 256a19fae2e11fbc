"""Makes and removes objects of one cluster."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from mesh_fixtures.contract import Cluster
from mesh_fixtures.kube.source import Source
from mesh_fixtures.kube.transport import NOT_FOUND, Refused, Transport, refusal

CONFLICT: Final = 409


class KubeWriter:
    """Makes and removes objects; its own class, so that what probes get can change nothing.

    Every method raises ProbeError when the API server cannot be asked or refuses, and NotPermitted
    when it does not permit it.

    Raises:
        ProbeError: the cluster's kubeconfig file cannot be used.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.name = cluster.name
        self._transport = Transport(cluster.name, cluster.kubeconfig)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._transport.close()

    def create(self, path: str, item: Mapping[str, Any]) -> bool:
        """Make an object, or leave the one alone that has its name.

        Args:
            path: of its kind, with the namespace that it belongs into.

        Returns:
            Whether it was made.
        """
        named = f"{item['kind']}/{item['metadata']['name']}"
        try:
            self._send("create", named, "POST", path, item)
        except Refused as error:
            if error.status == CONFLICT:
                return False
            raise refusal(self._source("create", named), error) from error
        return True

    def delete(self, path: str, uid: str = "") -> None:
        """Begin to remove an object, unless it is gone already or another one has its name.

        Args:
            path: of the object.
            uid: empty for whichever has its name.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            options["preconditions"] = {"uid": uid}
        named = path.rpartition("/")[2]
        try:
            self._send("delete", named, "DELETE", path, options)
        except Refused as error:
            if error.status not in (NOT_FOUND, CONFLICT):
                raise refusal(self._source("delete", named), error) from error

    def _send(self, verb: str, named: str, method: str, path: str, body: Mapping[str, Any]) -> None:
        self._transport.send(self._source(verb, named), method, path, body)

    def _source(self, verb: str, named: str) -> Source:
        return Source(self.name, named, f"kubectl --context={self.name} {verb} {named}")
