"""How large the page of many cases is, and how fast a browser shows it.

    python scripts/bench/report_page.py --data ../shared/data/Task04_Hippocampus --cases 200 --pictures 200

Predictions are disturbed references. Needs Debian's chromium and chromium-driver, and the extra `dev`.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

import swin_unetr
from transforms.io import read_labels, write_labels


def main() -> None:
    """Evaluate, open the page several times, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data set in the Decathlon's layout")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--pictures", type=int, default=20, help="cases with pictures, the worst first")
    parser.add_argument("--times", type=int, default=5, help="how often the page is opened")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = _report(Path(folder), options.data, options.cases, options.pictures)
        seconds = _opening(page, Path(folder), options.times)
        print(f"{options.cases} cases, {options.pictures} with pictures: {page.stat().st_size / 1e6:.2f} MB")
        print(f"opened in {np.median(seconds):.2f} s (median of {options.times}; longest {max(seconds):.2f} s)")


def _report(folder: Path, data: Path, number: int, pictures: int) -> Path:
    generator = np.random.default_rng(0)
    references = sorted(path for path in (data / "labelsTr").glob("*.nii.gz") if not path.name.startswith("."))[:number]
    (folder / "predictions").mkdir()
    for path in references:
        labels = read_labels(path)
        moved = np.roll(labels.array[0], generator.integers(-3, 4, 3), axis=(0, 1, 2))
        write_labels(folder / "predictions" / path.name, moved, labels.geometry)
    cases = [path.name.removesuffix(".nii.gz") for path in references]
    swin_unetr.evaluate(folder / "predictions", data, cases=cases, output=folder / "report", pictures=pictures)
    return folder / "report" / "report.html"


def _opening(page: Path, folder: Path, times: int) -> list[float]:
    """Seconds until everything is drawn, from the call."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver") or "chromedriver"))
    drawn = "requestAnimationFrame(() => requestAnimationFrame(() => arguments[0](document.body.dataset.ready)))"
    seconds = []
    try:
        for _ in range(times):
            start = time.perf_counter()
            driver.get(page.as_uri())
            assert driver.execute_async_script(drawn) == "yes"
            seconds.append(time.perf_counter() - start)
    finally:
        driver.quit()
    return seconds


if __name__ == "__main__":
    main()
