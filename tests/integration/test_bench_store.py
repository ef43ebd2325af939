"""The benchmark of the store runs, finds the crops alike, and says what it measured; at a small size."""

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_small_scans(project_root, test_data, tmp_path):
    command = [sys.executable, project_root / "scripts" / "bench" / "store.py", "--output", tmp_path]
    options = ["--scan", test_data / "ct" / "dicom_series", "--size", "96", "80", "64", "--crop", "32", "32", "32"]
    done = subprocess.run(
        [*command, *options, "--cases", "2", "--samples", "6", "--workers", "1", "--augment"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "the crops of all three agree" in done.stdout
    rows = {row["method"]: row for row in json.loads((tmp_path / "bench_store.json").read_text())["results"]}
    assert set(rows) == {"store", "CacheDataset", "PersistentDataset"}
    assert rows["PersistentDataset"]["against_persistent"] == 1
    assert (
        rows["CacheDataset"]["disk_bytes"] == 0 < rows["store"]["disk_bytes"] < rows["PersistentDataset"]["disk_bytes"]
    )
    for row in rows.values():
        assert row["samples_per_s"] > 0
        assert row["memory_bytes"] > 1e6
