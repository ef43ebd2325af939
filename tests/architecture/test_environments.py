"""pyproject.toml, constraints.txt, environment.yml, Makefile and README tell one story of how to install."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

CPU_INDEX = re.compile(r"https://download\.pytorch\.org/\S+?(?=[\s`)]|$)")


@pytest.fixture
def project(project_root: Path) -> dict:
    return tomllib.loads((project_root / "pyproject.toml").read_text())["project"]


@pytest.fixture
def tested_versions(project_root: Path) -> dict[str, str]:
    lines = (project_root / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    for requirement in requirements:
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
    return {canonicalize_name(item.name): next(iter(item.specifier)).version for item in requirements}


@pytest.fixture
def conda(project_root: Path) -> dict:
    return yaml.safe_load((project_root / "environment.yml").read_text())


def requirements_of(project: dict) -> list[Requirement]:
    """All that is tested: the project, `dev`, and the extras that `dev` draws in by the project's own name."""
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *extras["dev"]]
    own = [item for item in map(Requirement, extras["dev"]) if item.name == project["name"]]
    lines += [line for item in own for extra in sorted(item.extras) for line in extras[extra]]
    return [item for item in map(Requirement, lines) if item.name != project["name"]]


def test_every_requirement_was_tested_in_a_version_that_it_admits(project, tested_versions) -> None:
    for requirement in requirements_of(project):
        name = canonicalize_name(requirement.name)
        assert name in tested_versions, f"{name}: run `make constraints`"
        assert requirement.specifier.contains(tested_versions[name]), f"{requirement}: tested {tested_versions[name]}"


def test_requirements_are_ranges_not_pins(project) -> None:
    assert not [str(item) for item in requirements_of(project) if "==" in str(item.specifier)]


def test_torch_is_named_without_a_build_so_that_cpu_and_gpu_both_fit(tested_versions) -> None:
    assert tested_versions["torch"] == "2.13.0"
    assert not [version for version in tested_versions.values() if "+" in version]


def test_conda_takes_an_admitted_python_and_everything_else_from_the_project(project, conda) -> None:
    *packages, pip = conda["dependencies"]
    python = next(item for item in packages if item.startswith("python=")).removeprefix("python=")
    assert SpecifierSet(project["requires-python"]).contains(python)
    assert [item.split("=")[0] for item in packages] == ["python", "pip"]
    assert pip == {"pip": ["-c constraints.txt", "-e .[dev]"]}


def test_one_way_to_the_cpu_build_of_torch(project_root: Path) -> None:
    files = ("README.md", "Makefile", "environment.yml")
    found = [set(CPU_INDEX.findall((project_root / name).read_text())) for name in files]
    assert found == [{"https://download.pytorch.org/whl/cpu"}] * len(files)


def test_make_installs_from_the_constraints(project_root: Path) -> None:
    installs = [line for line in (project_root / "Makefile").read_text().splitlines() if "pip install" in line]
    assert installs
    assert not [line for line in installs if "-c constraints.txt" not in line]
