"""Nothing that could run code from a file, unpack an archive or call the network is in the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("swin_unetr", "pretrain", "finetune", "transforms", "scripts")
#: Modules that run code from files, unpack archives or talk to others; and who may import them, for what.
FORBIDDEN = {
    "pickle": {"swin_unetr/checkpoints/torch_file.py"},  # the class of an error
    "zipfile": {"swin_unetr/training/checkpoint_files.py"},  # checksums; nothing is unpacked
    "socket": set(),
    "http.server": {"swin_unetr/viewer/server.py"},  # 127.0.0.1 alone
    "urllib.request": set(),
    **{name: set() for name in ("cloudpickle", "dill", "joblib", "marshal", "shelve", "tarfile", "requests")},
    **{name: set() for name in ("http.client", "ftplib", "smtplib", "huggingface_hub", "monai.bundle", "monai.apps")},
    "torch.hub": set(),
}
#: Calls, and the argument that they must have.
NEEDS = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
NEVER = {
    *("eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "np.fromregex"),
    *("torch.jit.load", "torch.hub.load", "os.system", "os.popen", "shutil.unpack_archive"),
}


def modules(root: Path) -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield str(path.relative_to(root)), ast.parse(path.read_text(encoding="utf-8"))


def broken_rules(name: str, tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            base = getattr(node, "module", None)
            imported = [*(alias.name for alias in node.names), *([base] if base else [])]
            imported += [f"{base}.{alias.name}" for alias in node.names if base]
            for module, allowed in FORBIDDEN.items():
                if any(one == module or one.startswith(f"{module}.") for one in imported) and name not in allowed:
                    yield f"{name}:{node.lineno}: imports {module}"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            if called in NEVER or called.endswith((".extractall", ".load_from_checkpoint")):
                yield f"{name}:{node.lineno}: calls {called}"
            if called in NEEDS and given.get(NEEDS[called][0]) is not NEEDS[called][1]:
                yield f"{name}:{node.lineno}: {called} without {NEEDS[called][0]}={NEEDS[called][1]}"
            if given.get("shell") is True or given.get("allow_pickle") is True:
                yield f"{name}:{node.lineno}: {called} with a shell or with pickle"
            if called.endswith(".fit") and "ckpt_path" in given and given.get("weights_only") is not True:
                yield f"{name}:{node.lineno}: {called} resumes without weights_only"


def test_the_sources_run_no_code_from_files(project_root: Path) -> None:
    assert [rule for name, tree in modules(project_root) for rule in broken_rules(name, tree)] == []


@pytest.mark.parametrize(
    "source",
    [
        *(
            "import pickle",
            "from pickle import loads",
            "from monai.bundle import ConfigParser",
            "import urllib.request",
        ),
        *("torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)", "np.load(p, allow_pickle=True)"),
        *("yaml.load(text, Loader=yaml.Loader)", "eval(text)", "subprocess.run(text, shell=True)"),
        *("archive.extractall(folder)", "trainer.fit(module, ckpt_path=path)", "Module.load_from_checkpoint(path)"),
    ],
)
def test_a_rule_that_is_broken_is_seen(source: str) -> None:
    assert list(broken_rules("finetune/new.py", ast.parse(source)))
