"""Fetches NiiVue for the viewer: `python scripts/build_viewer.py`, which is `make viewer`.

npm installs the packages of package-lock.json into a temporary folder; the one file that a browser needs goes into
swin_unetr/viewer/assets/, with the licences of everything that is bundled in it. Nothing of it is committed. This
script uses only the standard library: setup.py runs it before anything is installed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "swin_unetr" / "viewer" / "assets"
SCRIPT, NOTICE = "niivue.umd.js", "NOTICE.txt"
_WANTED = ("package.json", "package-lock.json")
#: Seconds that npm may take, so that an installation without a network does not wait for ever.
_LIMIT = 180

#: NiiVue's packed file comes without its licence; these are the words of its repository.
_NIIVUE = """NiiVue (@niivue/niivue), BSD 2-Clause License

Copyright (c) 2021, Niivue
All rights reserved.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this
   list of conditions and the following disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice,
   this list of conditions and the following disclaimer in the documentation
   and/or other materials provided with the distribution.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"
AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE
FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER
CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""


def build_viewer(assets: Path = ASSETS) -> str | None:
    """Put NiiVue into a folder.

    Returns:
        Why it could not be done, in a line. None if it was done.
    """
    npm = shutil.which("npm")
    if npm is None:
        return "npm is not on PATH"
    if missing := [name for name in _WANTED if not (ROOT / name).is_file()]:
        return f"{ROOT} has no {' and '.join(missing)}"
    with tempfile.TemporaryDirectory() as temporary:
        for name in _WANTED:
            shutil.copy(ROOT / name, temporary)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit=optional", "--loglevel=error"]
        try:
            done = subprocess.run(command, cwd=temporary, capture_output=True, text=True, timeout=_LIMIT, check=False)
        except subprocess.TimeoutExpired:
            return f"npm ci did not end within {_LIMIT} s"
        if done.returncode:
            return f"npm ci failed: {(done.stderr.strip().splitlines() or ['no message'])[0]}"
        modules = Path(temporary) / "node_modules"
        source = modules / "@niivue" / "niivue" / "dist" / SCRIPT
        if not source.is_file():
            return f"the package has no dist/{SCRIPT}"
        assets.mkdir(parents=True, exist_ok=True)
        (assets / NOTICE).write_text(_NIIVUE + _bundled(modules), encoding="utf-8")
        shutil.copy(source, assets / f"{SCRIPT}.partial")
        (assets / f"{SCRIPT}.partial").replace(assets / SCRIPT)
    return None


def _bundled(modules: Path) -> str:
    """Licences of the packages that NiiVue bundles."""
    licences = (path for pattern in ("*/LICENSE*", "@*/*/LICENSE*", "@*/*/license*") for path in modules.glob(pattern))
    parts = []
    for path in sorted(set(licences)):
        text = path.read_text(encoding="utf-8", errors="replace").strip()
        parts.append(f"\n{'-' * 78}\n{path.parent.relative_to(modules).as_posix()}, bundled in {SCRIPT}\n\n{text}\n")
    return "".join(parts)


def main() -> int:
    """Build, and print the result; 1 if it failed."""
    problem = build_viewer()
    if problem:
        print(f"no viewer: {problem}; the rest works without it", file=sys.stderr)
        return 1
    print(f"the viewer's NiiVue is in {ASSETS}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
