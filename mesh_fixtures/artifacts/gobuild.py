"""Builds the programs of one Go module of ours from its committed go.mod and go.sum."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mesh_fixtures.artifacts import istio, releases, versions
from mesh_fixtures.artifacts.parts import Part, Work
from mesh_fixtures.artifacts.releases import Release

SOURCES: Final = Path(__file__).parent / "go"
"""The Go modules, one folder each."""

FLAGS: Final = ("-mod=readonly", "-trimpath", "-pgo=off")
"""The same for every module, so that the Go command's own cache is shared between them."""

ENVIRONMENT: Final = {
    "CGO_ENABLED": "0",
    "GOFLAGS": "-buildvcs=false",
    "GOWORK": "off",
    "GOOS": "",
    "GOARCH": "",
    "GOEXPERIMENT": "",
}
"""One value of CGO_ENABLED everywhere: with two, every package would be compiled twice."""

_BOOTSTRAP: Final = "envoy_bootstrap.json"

REMEDY: Final = (
    "see the compiler's message; a package that cannot be downloaded points to GOPROXY, "
    "see `go env GOPROXY`"
)


@dataclass(frozen=True)
class Programs:
    """Programs of one module.

    Attributes:
        name: of the part.
        module: folder below `SOURCES`, or the path of another one.
        packages: main packages by the name of the file that they become; a package that starts
            with "./" is our own.
        settings: linker `-X` settings, value by variable.
        also: files to copy out of modules that it requires, "module path:file" by target name.
        requirements: name of the module's go.mod, whose go.sum has the same name but for its end.
        release: what their project has released of them; None where nobody has.
    """

    name: str
    module: str
    packages: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 1500.0
    requirements: str = "go.mod"
    release: Release | None = None

    def part(self, uses: tuple[str, ...] = ()) -> Part:
        """The part whose folder holds each program under its name, and the files of `also`.

        Args:
            uses: the part with Go's toolchain, where it is not that of this machine.
        """
        return Part(
            name=self.name,
            inputs=self._inputs(),
            build=self._build,
            lane="go",
            seconds=self.seconds,
            uses=uses,
            prefetch=None if uses else self._prefetch,
        )

    @property
    def _folder(self) -> Path:
        return SOURCES / self.module

    def _inputs(self) -> dict[str, str]:
        inputs = {
            "flags": " ".join([*FLAGS, *link_flags(self.settings)]),
            "machine": platform.machine(),
            "packages": json.dumps(dict(self.packages), sort_keys=True),
            "also": json.dumps(dict(self.also), sort_keys=True),
        }
        requirements = self._folder / self.requirements
        files = [requirements, requirements.with_suffix(".sum")]
        for package in self.packages.values():
            if package.startswith("./"):
                sources = sorted((self._folder / package).glob("*.go"))
                files += [file for file in sources if not file.name.endswith("_test.go")]
        if any(package.startswith("./") for package in self.packages.values()):
            files += sorted((self._folder / "internal").rglob("*.go"))
        for file in files:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            inputs[file.relative_to(self._folder).as_posix()] = digest
        return inputs

    @property
    def _module_flags(self) -> tuple[str, ...]:
        return module_flags(self.requirements)

    def _prefetch(self, work: Work) -> None:
        """Download exactly the modules whose packages are compiled."""
        packages = [self.packages[name] for name in sorted(self.packages)]
        work.run(
            ["go", "list", *self._module_flags, "-deps", "-f", "", *packages],
            what=f"to download the Go modules of {self.name}",
            env=ENVIRONMENT,
            cwd=self._folder,
        )

    def _build(self, work: Work) -> None:
        environment = environment_of(work)
        for name, package in self.packages.items():
            work.run(
                [
                    *("go", "build", *FLAGS, *self._module_flags, *link_flags(self.settings)),
                    *("-o", work.into / name, package),
                ],
                what=f"to build {name} from {package}",
                remedy=REMEDY,
                env=environment,
                cwd=self._folder,
            )
        for target, source in self.also.items():
            module, _, file = source.partition(":")
            downloaded = module_folder(work, module, self._folder, self._module_flags)
            copied = shutil.copyfile(downloaded / file, work.into / target)
            copied.chmod(0o644)


def environment_of(work: Work) -> Mapping[str, str]:
    """What the Go command is started with: by the toolchain that a part uses, if it does."""
    fetched = work.needs.get("go")
    if fetched is None:
        return ENVIRONMENT
    path = os.pathsep.join((str(fetched / "go/bin"), os.environ.get("PATH", os.defpath)))
    return {**ENVIRONMENT, "PATH": path, "GOROOT": "", "GOTOOLCHAIN": "local"}


def module_folder(
    work: Work, module: str, folder: Path, flags: tuple[str, ...] = ("-mod=readonly",)
) -> Path:
    """The folder with the files of a Go module.

    Args:
        module: its path.
        folder: of the main module, which requires it.
        flags: see `module_flags`.

    Raises:
        ArtifactError: the main module does not require it, or it cannot be downloaded.
    """
    found = work.run(
        ["go", "list", *flags, "-m", "-f", "{{.Dir}}", module],
        what=f"to find the folder of the Go module {module}",
        remedy=REMEDY,
        env=environment_of(work),
        cwd=folder,
    )
    return Path(found.strip())


def link_flags(settings: Mapping[str, str]) -> list[str]:
    """Flags of the Go command for programs without symbols.

    Args:
        settings: linker `-X` settings, value by variable.
    """
    variables = [f"-X {variable}={value}" for variable, value in sorted(settings.items())]
    return ["-ldflags", " ".join(["-s", "-w", *variables])]


def module_flags(requirements: str) -> tuple[str, ...]:
    """Flags of the Go command for a go.mod by another name."""
    if requirements == "go.mod":
        return ("-mod=readonly",)
    return ("-mod=readonly", f"-modfile={requirements}")


def kubernetes(version: str) -> Programs:
    """The programs of Kubernetes in one; another version than the default has a name of its own.

    Raises:
        KeyError: there are no requirements of that version.
    """
    own = f"./cmd/kubernetes-{version.rpartition('.')[0]}"
    has_own = (SOURCES / "kubernetes" / own).is_dir()
    packages = {"kubernetes": own if has_own else "./cmd/kubernetes"}
    settings, release = kubernetes_settings(version), releases.kubernetes(version)
    if version == versions.KUBERNETES:
        return Programs("kubernetes", "kubernetes", packages, settings, release=release)
    if version not in versions.OTHER_KUBERNETES:
        raise KeyError(version)
    minor = version.rpartition(".")[0]
    return Programs(
        f"kubernetes-{minor}",
        "kubernetes",
        packages,
        settings,
        requirements=f"{minor}.mod",
        release=release,
    )


def kubernetes_settings(version: str = versions.KUBERNETES) -> dict[str, str]:
    """What the programs of Kubernetes say of their version.

    Without it they call themselves v0.0.0 and refuse feature gates of their own release.
    """
    major, minor, _ = version.split(".")
    variables = {
        "gitVersion": f"v{version}",
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
    }
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    return {f"{package}.{name}": value for package in packages for name, value in variables.items()}


def istio_programs(version: str) -> Programs:
    """The programs of Istio; another version than the default has a name of its own."""
    return Programs(
        istio.part_name("istio", version),
        "istio",
        {
            "pilot-discovery": f"{istio.MODULE}/pilot/cmd/pilot-discovery",
            "pilot-agent": f"{istio.MODULE}/pilot/cmd/pilot-agent",
            "istioctl": f"{istio.MODULE}/istioctl/cmd/istioctl",
        },
        istio_settings(version),
        also={_BOOTSTRAP: f"{istio.MODULE}:tools/packaging/common/{_BOOTSTRAP}"},
        requirements=istio.requirements(version),
    )


def istio_settings(version: str) -> dict[str, str]:
    """What istiod, the proxies and istioctl say of their version."""
    variables = {
        "buildVersion": version,
        "buildTag": version,
        "buildGitRevision": istio.commit_of(version),
        "buildStatus": "Modified",
        "buildHub": versions.IMAGE_HUB,
    }
    return {f"istio.io/istio/pkg/version.{name}": value for name, value in variables.items()}


def kind() -> Programs:
    """The program kind, which only labs of the provider of that name need."""
    return Programs("kind", "kind", {"kind": "sigs.k8s.io/kind"}, release=releases.kind())


def helm() -> Programs:
    """The program helm, which only installations by Helm need."""
    variables = {"version": f"v{versions.HELM}", "gitTreeState": "clean"}
    settings = {
        f"helm.sh/helm/v3/internal/version.{name}": value for name, value in variables.items()
    }
    packages = {"helm": "helm.sh/helm/v3/cmd/helm"}
    return Programs("helm", "helm", packages, settings, release=releases.helm())


def programs(
    kubernetes_version: str = versions.KUBERNETES, istio_version: str | None = versions.ISTIO
) -> tuple[Programs, ...]:
    """Everything that labs need compiled, those first that others wait for.

    Args:
        istio_version: None where Istio is not built.
    """
    ours = "./cmd/"
    found = [
        Programs("image-tools", "tools", {name: ours + name for name in ("oci-image", "pause")}),
        Programs("coredns", "coredns", {"coredns": ours + "coredns"}, release=releases.coredns()),
        Programs(
            "metallb",
            "metallb",
            {name: f"go.universe.tf/metallb/{name}" for name in ("controller", "speaker")},
            also={
                "metallb-native.yaml": "go.universe.tf/metallb:config/manifests/metallb-native.yaml"
            },
            release=releases.metallb(),
        ),
        *([istio_programs(istio_version)] if istio_version else []),
        Programs("etcd", "etcd", {"etcd": "go.etcd.io/etcd/server/v3"}, release=releases.etcd()),
        kubernetes(kubernetes_version),
    ]
    if any((SOURCES / "tools/cmd/mesh-node").glob("*.go")):
        found.append(Programs("mesh-node", "tools", {"mesh-node": ours + "mesh-node"}))
    return tuple(found)
