"""Options of the plugin: three names each, checked before anything else happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh_fixtures.options import BY_HELM, Choice, InstallMethods
from mesh_fixtures.providers import all_options
from mesh_fixtures.session.options import resolve


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in all_options():
        monkeypatch.delenv(option.variable, raising=False)


def test_defaults(pytester: pytest.Pytester) -> None:
    settings = resolve(pytester.parseconfig())
    assert settings.provider == Choice()
    assert settings.topologies == ()
    assert settings.scenarios is None
    assert settings.keep == "never"
    assert settings.requests == 200
    assert not settings.plan


def test_flag_wins_over_environment_over_ini(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\nmesh_keep = always\nmesh_topology = one two\nmesh_requests = 60")
    settings = resolve(pytester.parseconfig())
    assert (settings.keep, settings.topologies, settings.requests) == ("always", ("one", "two"), 60)
    monkeypatch.setenv("MESH_KEEP", "failed")
    monkeypatch.setenv("MESH_TOPOLOGY", "three")
    monkeypatch.setenv("MESH_REQUESTS", "70")
    settings = resolve(pytester.parseconfig())
    assert (settings.keep, settings.topologies, settings.requests) == ("failed", ("three",), 70)
    flags = ("--mesh-keep=never", "--mesh-topology=a", "--mesh-topology=b", "--mesh-requests=50")
    settings = resolve(pytester.parseconfig(*flags))
    assert (settings.keep, settings.topologies, settings.requests) == ("never", ("a", "b"), 50)


@pytest.mark.parametrize("value", ["", " "])
def test_empty_environment_counts_as_absent(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MESH_KEEP", value)
    assert resolve(pytester.parseconfig()).keep == "never"


def test_folder_is_looked_up_from_where_pytest_was_started(pytester: pytest.Pytester) -> None:
    pytester.mkdir("mine")
    settings = resolve(pytester.parseconfig("--mesh-scenarios=mine"))
    assert settings.scenarios == Path(pytester.path, "mine")


def test_charts_and_istioctl_are_looked_up_from_where_pytest_was_started(
    pytester: pytest.Pytester,
) -> None:
    pytester.mkdir("charts")
    flags = ("--mesh-install=helm", "--mesh-charts=charts", "--mesh-istioctl=1.30.1")
    provider = resolve(pytester.parseconfig(*flags)).provider
    assert (provider.methods, provider.istioctl) == (BY_HELM, "1.30.1")
    assert provider.chart_source == str(Path(pytester.path, "charts"))
    url = "oci://hub.example/charts"
    provider = resolve(pytester.parseconfig("--mesh-install=helm", f"--mesh-charts={url}")).provider
    assert provider.chart_source == url
    assert resolve(pytester.parseconfig()).provider.chart_source is None


def test_gateways_are_installed_as_the_mesh_unless_another_way_is_named(
    pytester: pytest.Pytester,
) -> None:
    def methods(*flags: str) -> InstallMethods:
        settings = resolve(pytester.parseconfig(*flags))
        assert settings.install == settings.provider.methods.name
        assert settings.gateways == settings.provider.methods.gateways
        return settings.provider.methods

    assert methods("--mesh-install=helm", "--mesh-gateways=auto") == BY_HELM
    assert methods("--mesh-install=helm", "--mesh-gateways=helm") == BY_HELM
    assert methods("--mesh-gateways=gateway-api").name == "istioctl-gateway-api"
    assert methods("--mesh-install=helm", "--mesh-gateways=gateway-api").name == "helm-gateway-api"
    charts = ("--mesh-gateways=helm", "--mesh-charts=oci://hub.example/charts")
    assert methods(*charts).name == "istioctl-helm"


def test_the_runbook_of_an_installation_by_helm(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(mesh_installed): pass")
    arguments = ("--mesh-plan", "--mesh-install=helm", "--mesh-topology=multi-primary")
    result = pytester.runpytest(*arguments, "--mesh-charts=https://charts.example")
    result.stdout.fnmatch_lines(
        ["helm upgrade --install istiod istiod --repo https://charts.example *"]
    )
    result.stdout.no_fnmatch_line("istioctl install*")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--mesh-requests=49", "--mesh-requests: '49' is not a whole number of at least 50"),
        ("--mesh-requests=many", "--mesh-requests: 'many' is not a whole number of at least 50"),
        ("--mesh-scenarios=nowhere", "--mesh-scenarios: */nowhere is not a folder"),
        ("--mesh-charts=x", "*needs --mesh-install helm*add --mesh-install helm*"),
        (
            "--mesh-gateways=gateway-api --mesh-upgrade-from=b01690e6db7d",
            "*--mesh-upgrade-from with --mesh-install istioctl --mesh-gateways gateway-api*",
        ),
        (
            "--mesh-gateways=gateway-api --mesh-charts=x",
            "*needs --mesh-install helm or --mesh-gateways helm*",
        ),
        ("--mesh-topology=nowhere", "--mesh-topology: there is no 'nowhere' in *; valid*"),
    ],
)
def test_refused(pytester: pytest.Pytester, flag: str, message: str) -> None:
    pytester.makepyfile("def test_it(mesh_scenario): pass")
    result = pytester.runpytest(*flag.split())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


@pytest.mark.parametrize(
    ("flag", "valid"),
    [
        ("--mesh-provider=cloud", "auto*kubeconfig*netns*kind"),
        ("--mesh-install=apt", "auto*istioctl*helm*skip"),
        ("--mesh-gateways=apt", "auto*istioctl*helm*gateway-api"),
        ("--mesh-images=pulled", "auto*built*released"),
    ],
)
def test_what_is_not_available_is_no_choice(
    pytester: pytest.Pytester, flag: str, valid: str
) -> None:
    result = pytester.runpytest(flag)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    option, _, value = flag.partition("=")
    result.stderr.fnmatch_lines([f"*{option}: invalid choice: '{value}' (choose from *{valid}*"])


def test_bad_environment_is_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_PROVIDER", "cloud")
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: environment variable MESH_PROVIDER: 'cloud' is not valid; valid values: auto*"]
    )


def test_every_option_is_explained(pytester: pytest.Pytester) -> None:
    text = " ".join(pytester.runpytest("--help").outlines)
    for option in all_options():
        assert option.flag in text
        assert option.variable in text


def test_a_value_must_not_keep_pytest_from_its_configuration(
    pytester: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytester.makeini("[pytest]\nmesh_keep = always")
    elsewhere = str(tmp_path_factory.mktemp("elsewhere"))
    assert resolve(pytester.parseconfig(f"--mesh-report={elsewhere}")).keep == "always"
    with pytest.raises(pytest.UsageError, match=f"write --mesh-report={elsewhere}"):
        resolve(pytester.parseconfig("--mesh-report", elsewhere))


def test_without_a_configuration_a_value_is_one(
    pytester: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    settings = resolve(pytester.parseconfig("--mesh-report", str(elsewhere)))
    assert settings.report == elsewhere
