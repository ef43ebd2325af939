"""Writes constraints.txt: the versions of this environment that `swin-unetr[dev]` needs, directly or not.

`make constraints` runs it after `make test` has passed, so the file says what was tested.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

#: The oldest Python that pyproject.toml allows; versions that need a newer one get a condition.
OLDEST_PYTHON = "3.11"


def closure(root: str) -> dict[str, Distribution]:
    """Every installed distribution that a requirement such as `name[extra]` needs, by canonical name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    pending = [Requirement(root)]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        try:
            found.setdefault(name, distribution(name))
        except PackageNotFoundError:
            continue  # for another platform or Python
        for extra in {"", *requirement.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            for line in found[name].requires or []:
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    pending.append(needed)
    return found


def constraint(found: Distribution) -> str:
    """One line: `name==version`, without a local part such as `+cpu`, so that every build of it fits."""
    line = f"{canonicalize_name(found.name)}=={Version(found.version).public}"
    needs = SpecifierSet(str(found.metadata.json.get("requires_python", "")))
    if needs.contains(OLDEST_PYTHON):
        return line
    return f'{line} ; python_version > "{OLDEST_PYTHON}"'


def main() -> None:
    """Write the file named on the command line."""
    distributions = closure("swin-unetr[dev]")
    del distributions["swin-unetr"]
    header = [
        f"# The versions that the tests passed with, on Python {platform.python_version()}, {platform.system()}.",
        "# Written by `make constraints`; the allowed ranges are in pyproject.toml.",
    ]
    lines = [*header, *(constraint(found) for _, found in sorted(distributions.items()))]
    Path(sys.argv[1]).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
