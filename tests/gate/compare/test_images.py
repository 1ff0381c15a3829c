"""Images are compared by what people see of them."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from helpers.comparing import compared, said, written
from PIL import Image, ImageDraw

from pytest_ductaflow.core.errors import ExpectedUnreadable
from pytest_ductaflow.gate.compare.kinds.images import _distances
from pytest_ductaflow.gate.compare.tolerance import Tolerance

SUFFIXES = ("png", "jpg", "jpeg", "gif", "webp", "bmp", "tif", "tiff")
RED, BLUE = (200, 30, 30), (30, 30, 200)


def drawing(*, left=50, colour=RED, size=(200, 100), mode="RGB"):
    def write(path):
        image = Image.new("RGB", size, "white")
        ImageDraw.Draw(image).rectangle((left, 20, left + 40, 60), fill=colour)
        image.convert(mode).save(path)

    return write


def film(*colours):
    def write(path):
        first, *rest = [Image.new("RGB", (20, 20), colour) for colour in colours]
        first.save(path, save_all=True, append_images=rest)

    return write


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_colours_that_look_alike_are_as_expected(tmp_path, suffix):
    assert compared(tmp_path, f"x.{suffix}", drawing(), drawing(colour=(203, 30, 30))) is None
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_looks_different_is_told_and_shown(tmp_path, suffix):
    difference = compared(tmp_path, f"x.{suffix}", drawing(), drawing(colour=BLUE))
    share = re.match(
        r"([\d.]+) % of the pixels look different, most at \((\d+), (\d+)\)$",
        difference.message,
    )
    assert float(share[1]) == pytest.approx(8.4, abs=1.5)
    assert 48 <= int(share[2]) <= 92
    assert difference.figures == {
        role: f"figures/x.{suffix}.{role}.png" for role in ("expected", "found", "difference")
    }
    shown = np.array(Image.open(tmp_path / "run" / difference.figures["difference"]).convert("RGB"))
    assert tuple(shown[40, 70]) == (214, 0, 0)
    assert tuple(shown[90, 190]) == (255, 255, 255)


@pytest.mark.parametrize(
    ("tolerance", "same"),
    [
        (Tolerance(), False),
        (Tolerance(pixels=0.1), True),
        (Tolerance(pixels=0.08), False),
        (Tolerance(colour=1), True),
        (Tolerance(colour=0, pixels=1), True),
    ],
)
def test_how_many_pixels_may_look_how_different_is_a_tolerance(tmp_path, tolerance, same):
    assert (compared(tmp_path, "x.png", drawing(), drawing(colour=BLUE), tolerance) is None) == same


def test_black_and_white_are_the_unit_of_difference():
    black, white, grey, glass = (
        np.full((1, 1, 4), value, dtype=np.uint8)
        for value in ([0, 0, 0, 255], [255] * 4, [128, 128, 128, 255], [0, 0, 0, 0])
    )
    assert _distances(black, white)[0, 0] == pytest.approx(1)
    assert _distances(white, grey)[0, 0] == pytest.approx(127 / 255)
    assert _distances(white, glass)[0, 0] == 0


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "CMYK"])
def test_the_mode_of_an_image_does_not_matter(tmp_path, mode):
    black = drawing(colour="black")
    assert compared(tmp_path, "x.tif", black, drawing(colour="black", mode=mode)) is None


def test_images_of_other_sizes_differ(tmp_path):
    difference = compared(tmp_path, "x.png", drawing(), drawing(size=(210, 90)))
    assert difference.message == "200 by 100 pixels expected, 210 by 90 found"
    with Image.open(tmp_path / "run" / difference.figures["difference"]) as shown:
        assert shown.size == (210, 100)


@pytest.mark.parametrize("suffix", ["gif", "webp", "tiff", "png"])
def test_all_frames_are_compared(tmp_path, suffix):
    expected, found = film("red", "lime", "blue"), film("red", "lime", "yellow")
    assert compared(tmp_path, f"x.{suffix}", expected, found).message.startswith("frame 3: 100 %")
    fewer = compared(tmp_path, f"x.{suffix}", expected, film("red", "lime"))
    assert fewer.message == "3 frames expected, 2 found"


@pytest.mark.parametrize("kind", ["u2", "i4", "f4"])
def test_pixels_that_are_measurements_are_compared_as_numbers(tmp_path, kind):
    heights = np.arange(100, dtype=kind).reshape(10, 10)

    def raster(array):
        return lambda path: Image.fromarray(array).save(path)

    higher = heights + np.array(heights == 42, dtype=kind)
    assert compared(tmp_path, "x.tif", raster(heights), raster(heights)) is None
    difference = compared(tmp_path, "x.tif", raster(heights), raster(higher))
    assert (difference.worst[0].where, difference.worst[0].absolute) == ("[4, 2]", 1)
    colours = compared(tmp_path, "x.tif", raster(heights), drawing())
    assert colours.message == "pixels that are numbers expected, colours found"


SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100">
<rect x="10" y="10" width="50" height="40" fill="#c33"/></svg>"""


def test_svg_is_compared_as_it_looks(tmp_path):
    same = SVG.replace("<rect", "<!-- written at noon --><rect").replace("#c33", "#cc3333")
    assert compared(tmp_path, "x.svg", SVG, same) is None
    difference = compared(tmp_path, "x.svg", SVG, SVG.replace('x="10"', 'x="30"'))
    assert difference.message.startswith("8 % of the pixels look different, most at (")
    assert difference.figures["found"] == "figures/x.svg.found.png"


def test_a_drawing_of_matplotlib_has_sizes_in_points(tmp_path):
    points = SVG.replace('"200"', '"150pt" viewBox="0 0 200 100"').replace('"100">', '"75pt">')
    assert compared(tmp_path, "x.svg", points, points) is None
    assert compared(tmp_path, "x.svg", points, points.replace('x="10"', 'x="30"')) is not None


def test_what_is_written_in_a_drawing_counts_even_if_it_is_not_drawn(tmp_path):
    foreign = "<foreignObject width='50' height='20'><p>trips: 42</p></foreignObject>"
    labelled = SVG.replace("<rect", f"<metadata><a><b>at noon</b></a></metadata>{foreign}<rect")
    later = labelled.replace("at noon", "at night")
    assert compared(tmp_path, "x.svg", labelled, later) is None
    difference = compared(tmp_path, "x.svg", labelled, labelled.replace("42", "43"))
    assert said(difference) == ["text 'trips: 42' expected, 'trips: 43' found"]


def test_the_same_figure_drawn_again_is_as_expected(tmp_path):
    from matplotlib.figure import Figure

    def draw(path):
        figure = Figure()
        axes = figure.subplots()
        axes.bar(["north", "south"], [3, 2], label="trips")
        axes.legend(title="per day")
        figure.savefig(path, metadata={"Date": path.parent.name})  # differs between the two

    assert compared(tmp_path, "x.svg", draw, draw) is None


def test_a_small_drawing_is_drawn_larger(tmp_path):
    small = SVG.replace('"200"', '"2" viewBox="0 0 200 100"').replace('"100">', '"1">')
    assert compared(tmp_path, "x.svg", small, small.replace('x="10"', 'x="14"')) is not None


def test_a_drawing_that_is_too_large_is_not_drawn(tmp_path):
    huge = SVG.replace('"200"', '"60000"').replace('"100">', '"60000">')
    with pytest.raises(ExpectedUnreadable, match="it would have more than 50,000,000 pixels"):
        compared(tmp_path, "x.svg", huge, huge)


def test_shades_of_grey_in_a_raster_are_numbers(tmp_path):
    def cells(value):
        return lambda path: Image.new("L", (20, 20), value).save(path)

    difference = compared(tmp_path, "x.tif", cells(3), cells(4))
    assert difference.message.startswith("400 of 400 values differ; largest absolute difference 1")


@pytest.mark.parametrize("content", [SVG[:100], "", "<html/>", "garbage", b"\x89PNG"])
def test_what_is_no_svg_is_never_as_expected(tmp_path, content):
    with pytest.raises(ExpectedUnreadable, match=r"x\.svg: cannot be read as SVG: "):
        compared(tmp_path, "x.svg", content, content)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("cut", [1, 12, 100])
def test_a_truncated_image_is_never_as_expected(tmp_path, suffix, cut):
    whole = written(tmp_path, f"x.{suffix}", drawing()).read_bytes()
    with pytest.raises(ExpectedUnreadable, match=r"cannot be read as an image: "):
        compared(tmp_path, f"x.{suffix}", whole[:-cut], whole[:-cut])
    found = compared(tmp_path, f"x.{suffix}", whole, whole[:-cut])
    assert found.message.startswith("cannot be read as an image: ")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_image_of_another_format_is_never_as_expected(tmp_path, suffix):
    other = written(tmp_path, "x.bmp" if suffix != "bmp" else "x.png", drawing()).read_bytes()
    with pytest.raises(ExpectedUnreadable, match=r"its content is no [A-Z]+ image"):
        compared(tmp_path, f"x.{suffix}", other, other)


def test_an_image_too_large_to_be_read_safely_is_said_to_be(tmp_path, monkeypatch):
    for limit in (15_000, 5_000):  # Pillow warns above the limit, and raises above twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ExpectedUnreadable, match=f"it has more than {limit:,} pixels"):
            compared(tmp_path, "x.png", drawing(), drawing())


@pytest.mark.parametrize(
    ("name", "library", "remedy"),
    [
        ("x.png", "PIL", "[images]"),
        ("x.svg", "resvg_py", "[images]"),
        ("x.parquet", "pyarrow", "[parquet]"),
        ("x.xlsx", "openpyxl", "[excel]"),
    ],
)
def test_without_the_library_only_equal_bytes_pass(tmp_path, monkeypatch, name, library, remedy):
    for module in [name for name in sys.modules if name == library or name.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("images", "parquet", "svg"):
        monkeypatch.delitem(sys.modules, f"pytest_ductaflow.gate.compare.kinds.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    assert compared(tmp_path, name, b"x", b"x") is None
    with pytest.raises(ExpectedUnreadable) as caught:
        compared(tmp_path, name, b"x", b"y")
    assert f'pip install "pytest-ductaflow{remedy}"' in str(caught.value)
