"""Make the README's pictures of the report, from what the examples have left in their `runs/`.

    pytest --ductaflow examples/co2/conductor.py -n auto
    pytest --ductaflow examples/corridor/conductor.py -n auto
    python tests/helpers/readme_pictures.py [co2] [corridor]

It needs chromium and chromedriver on the PATH.
"""

from __future__ import annotations

import sys
from pathlib import Path

from selenium import webdriver

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))
EXAMPLES = TESTS.parent / "examples"
# The picture, and the view, width and height that it shows; what is typed is in the address, too.
PICTURES = {
    "co2/report.png": ("view=groups", 1280, 900),
    "corridor/pivot.png": ("view=pivot&x=year&y=mode&facet=toll", 1280, 900),
    "corridor/gallery.png": (
        "view=gallery&gx=year&gy=mode&where.toll=%3D+4&where.growth=%3D+0.02&tile=small",
        1280,
        900,
    ),
}

# Images are decoded beside the page's own work: the picture waits for the frame after that.
DECODED = """
    const done = arguments[0];
    const decoded = [...document.images].map((each) => { each.loading = "eager"; return each.decode(); });
    Promise.all(decoded).then(() => requestAnimationFrame(() => setTimeout(done, 500)));
"""


def main() -> None:
    from helpers.browser import CHROMEDRIVER, CHROMIUM, FLAGS, Page
    from pytest_ductaflow.core.run_directory.layout import REPORT

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in FLAGS.split():
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    try:
        for name, (address, width, height) in PICTURES.items():
            if sys.argv[1:] and Path(name).parent.name not in sys.argv[1:]:
                continue
            runs = (EXAMPLES / name).parent / "runs"
            if not (runs / REPORT).exists():
                sys.exit(f"{runs / REPORT} is missing: run the example first")
            page = Page(browser, runs)
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            page.go(f"#{address}")
            browser.set_script_timeout(60)
            browser.execute_async_script(DECODED)
            browser.save_screenshot(str(EXAMPLES / name))
            print(f"examples/{name}")
    finally:
        browser.quit()


if __name__ == "__main__":
    main()
