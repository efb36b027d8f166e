"""Writes the image of docs/reports.md: a report on drawn figures in a wide and in a narrow window.

PYTHONPATH=tests python tests/browser/screenshot.py docs/images/report.png
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from helpers.report_data import make_figures, make_results
from PIL import Image
from playwright.sync_api import sync_playwright

from posecore.reports.results_page import write_results_report

# Width and height of each window, its color scheme, and what is scrolled to its upper edge.
WINDOWS = ((1280, 1000, "light", "figures"), (390, 1000, "dark", "gallery"))
# By how much the image is smaller than the windows.
SCALE = 0.6


def main(output: Path) -> None:
    """Makes the data, the page and its image."""
    browser_path = os.environ.get("POSECORE_BROWSER") or shutil.which("chromium")
    shots = []
    with tempfile.TemporaryDirectory() as name, sync_playwright() as driver:
        folder = Path(name)
        definition = make_figures(folder, num_images=60, size=(240, 320), people=(1, 4))
        ours = make_results(definition, folder / "longer" / "coco_instances_results.json")
        other = folder / "shorter" / "coco_instances_results.json"
        theirs = make_results(definition, other, quality=0.6, seed=1)
        page_file = folder / "report.html"
        write_results_report(ours, str(definition), page_file, against=theirs)
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for width, height, scheme, place in WINDOWS:
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(page_file.as_uri())
            page.locator(f"#{place}").evaluate("(node) => node.scrollIntoView({ behavior: 'instant' })")
            page.wait_for_timeout(1000)
            pixels = np.frombuffer(page.screenshot(), np.uint8)
            shots.append(cv2.imdecode(pixels, cv2.IMREAD_COLOR))
        browser.close()
    gap = np.full((shots[0].shape[0], 24, 3), 255, np.uint8)
    image = np.concatenate([shots[0], gap, shots[1]], axis=1)
    image = cv2.resize(image, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA)
    # Few colors keep the file small.
    Image.fromarray(image[:, :, ::-1]).quantize(256, dither=Image.Dither.NONE).save(output, optimize=True)
    print(f"{output}: {output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
