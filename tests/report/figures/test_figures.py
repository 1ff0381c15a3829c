"""The figures of runs: which there are, which can be shown, and that they are prepared once."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("PIL")

from helpers.pictures import bomb, draw_figure, noisy
from PIL import Image

from pytest_ductaflow.core.record import Record, Status
from pytest_ductaflow.core.run_directory.listing import digest
from pytest_ductaflow.report.figures import prepare, thumbnails
from pytest_ductaflow.report.figures.can_be_shown import problem_of
from pytest_ductaflow.report.figures.entries import Job, entries_in, files_in
from pytest_ductaflow.report.figures.image_header import size_of
from pytest_ductaflow.report.figures.index import Index
from pytest_ductaflow.report.figures.notebook_images import images_of, may_have_images
from pytest_ductaflow.report.figures.of_runs import figures_of_runs


def record_of(name: str = "a", *, outputs: dict[str, str] | None = None, **more: Any) -> Record:
    place = more.pop("run_dir", f"runs/fit/{name}")
    flow = more.pop("flow", "flows/fit.py")
    return Record(Status.SUCCESS, flow, "fit", name, place, "2030", outputs=outputs or {}, **more)


def leave_notebook(path: Path, *outputs: list[dict[str, Any]]) -> Path:
    """Write an executed notebook, each cell of which has these outputs."""
    cells = [
        {"cell_type": "code", "execution_count": number, "source": "", "outputs": found}
        for number, found in enumerate(outputs, 1)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "#"}, *cells]}))
    return path


def shown(image: Path) -> dict[str, Any]:
    data = {"image/png": base64.b64encode(image.read_bytes()).decode(), "text/plain": "<Figure>"}
    return {"output_type": "display_data", "data": data}


# ---- Sizes and what can be shown


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "lossy.webp", "lossless.webp", "alpha.webp"])
def test_the_size_is_in_the_first_bytes(tmp_path, name):
    mode = "RGBA" if name == "alpha.webp" else "RGB"
    more = (
        {"lossless": True}
        if name == "lossless.webp"
        else {"exif": b"Exif\0\0"}
        if name == "alpha.webp"
        else {}
    )
    Image.new(mode, (301, 77), (9, 9, 9, 9)[: len(mode)]).save(tmp_path / name, **more)
    with open(tmp_path / name, "rb") as file:
        assert size_of(file) == (301, 77)


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0", b"RIFFxxxxWEBPVP8 ", b"text"]
)
def test_what_has_no_size_is_no_image(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    assert problem_of(str(tmp_path / "a.png"), [str(tmp_path)]) == "no PNG, JPEG, GIF or WebP image"


def test_a_bomb_is_seen_before_it_goes_off(tmp_path):
    path = bomb(tmp_path / "a.png")
    assert problem_of(str(path), [str(tmp_path)]) == "too large to be shown: 60000 by 60000 pixels"


def test_pillow_s_own_alarm_is_no_error_either(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    draw_figure(tmp_path / "a.png")
    with pytest.raises(thumbnails.BrokenImageError, match="DecompressionBombError"):
        thumbnails.thumbnail_of(tmp_path / "a.png", "0" * 20, tmp_path)


def test_a_link_is_followed_within_its_folders_only(tmp_path):
    inside, outside = tmp_path / "runs", tmp_path / "elsewhere"
    draw_figure(inside / "b/a.png")
    draw_figure(outside / "a.png")
    (inside / "good.png").symlink_to("b/a.png")
    (inside / "bad.png").symlink_to(outside / "a.png")
    (inside / "folder").symlink_to(outside)
    within = [str(inside)]
    assert problem_of(str(inside / "good.png"), within) is None
    assert problem_of(str(inside / "bad.png"), within) == "a link that leads out of its folder"
    assert problem_of(str(inside / "folder/a.png"), within) == "a link that leads out of its folder"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert problem_of(str(tmp_path / "a.png"), [str(tmp_path)]) == "no file"


# ---- Which figures there are


def test_figures_are_outputs_in_the_run_directory_and_in_those_of_a_build_s_flows():
    files = {"b.png": "", "plots/C.JPG": "", "data.csv": "", "../out.png": "", "/abs.png": "", "a.svg": ""}
    flow = record_of(run_dir="runs/fit/a/runs/plot", flow="flows/plot.py", outputs={"d.gif": ""})
    elsewhere = record_of(run_dir="other", flow="flows/plot.py", outputs={"e.gif": ""})
    job = Job.of("fit/a", record_of(outputs=files, flows=(flow, elsewhere)))
    assert [key for key, _ in job.files] == ["b.png", "plots/C.JPG", "a.svg", "runs/plot/d.gif"]
    assert job.notebooks == (
        ("fit_executed.ipynb", "fit"),
        ("runs/plot/plot_executed.ipynb", "runs/plot/plot"),
    )
    assert Job.from_json(json.loads(json.dumps(job.to_json()))) == job


def test_images_of_a_notebook_have_the_same_name_in_every_run(tmp_path):
    image = draw_figure(tmp_path / "a.png")
    svg = {"output_type": "execute_result", "data": {"image/svg+xml": ["<svg ", "xmlns='x'/>"]}}
    printed = {"output_type": "stream", "name": "stdout", "text": "image"}
    notebook = leave_notebook(
        tmp_path / "n.ipynb", [printed], [shown(image), printed, svg], [], [shown(image)]
    )
    assert may_have_images(notebook)
    found = [(name, suffix, len(data)) for name, suffix, data in images_of(notebook)]
    size = image.stat().st_size
    assert found == [("cell 2", ".png", size), ("cell 2, image 2", ".svg", 16), ("cell 4", ".png", size)]


@pytest.mark.parametrize(
    "text", ["", "[]", '{"cells": 7}', '{"cells": [{"cell_type": "code", "outputs": [7, {"data": 7}]}]}']
)
def test_a_notebook_that_is_none_has_no_images(tmp_path, text):
    (tmp_path / "n.ipynb").write_text(text)
    assert list(images_of(tmp_path / "n.ipynb")) == []
    assert not may_have_images(tmp_path / "n.ipynb")


def test_rows_that_others_have_written_name_no_files_elsewhere():
    row = {
        "directory": "fit/a",
        "figures": [["a.png", "../../x.webp"], 7, ["b.png", "", "/etc/x.png"], ["c", "", "", "broken"]],
    }
    assert [each[:3] for each in entries_in(row)] == [["a.png", "", ""], ["b.png", "", ""], ["c", "", ""]]
    assert list(files_in(row)) == ["fit/a/a.png", "fit/a/b.png"]
    assert list(files_in({"directory": "fit/a", "figures": 7})) == []


# ---- Prepared once


def test_figures_are_prepared_once(tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    image = noisy(runs / "fit/a/a.png")
    leave_notebook(runs / "fit/a/fit_executed.ipynb", [shown(image)])
    record = record_of(outputs={"a.png": digest(image)})
    (first,) = figures_of_runs(runs, [("fit/a", record)])
    small = f"{digest(image)[7:27]}-640.webp"
    assert first == [["a.png", small], ["fit, cell 1", small, f"{digest(image)[7:27]}.png"]]
    with Image.open(runs / ".figures" / small) as copy:
        assert max(copy.size) == 640
    monkeypatch.setattr(
        "pytest_ductaflow.report.figures.of_runs.prepare", lambda *_: pytest.fail("made again")
    )
    assert figures_of_runs(runs, [("fit/a", record)]) == [first]


def test_another_run_has_other_figures(tmp_path):
    runs = tmp_path / "runs"
    one = noisy(runs / "fit/a/a.png")
    (first,) = figures_of_runs(runs, [("fit/a", record_of(outputs={"a.png": digest(one)}))])
    noisy(one, (901, 600))
    later = record_of(outputs={"a.png": digest(one)}).with_(started="2031")
    (second,) = figures_of_runs(runs, [("fit/a", later)])
    assert first != second


def test_small_images_are_shown_themselves(tmp_path):
    runs = tmp_path / "runs"
    draw_figure(runs / "fit/a/a.png")
    assert figures_of_runs(runs, [("fit/a", record_of(outputs={"a.png": ""}))]) == [[["a.png"]]]
    assert [path.name for path in (runs / ".figures").iterdir()] == ["index.jsonl"]


def test_without_pillow_images_are_shown_themselves(tmp_path, monkeypatch):
    for module in (prepare, thumbnails):
        monkeypatch.setattr(module, "can_make_thumbnails", lambda: False)
    runs = tmp_path / "runs"
    image = noisy(runs / "fit/a/a.png")
    leave_notebook(runs / "fit/a/fit_executed.ipynb", [shown(image)])
    (found,) = figures_of_runs(runs, [("fit/a", record_of(outputs={"a.png": digest(image)}))])
    own = f"{digest(image)[7:27]}.png"
    assert found == [["a.png"], ["fit, cell 1", "", own]]
    assert (runs / ".figures" / own).read_bytes() == image.read_bytes()


def test_an_index_that_cannot_be_read_counts_as_none(tmp_path):
    runs = tmp_path / "runs"
    (runs / ".figures").mkdir(parents=True)
    lines = ["", "7", "[[1], 2]", '[["fit/a", "fit", "2030"], [7]]', '[["fit/a", "fit", "2030"], [["half']
    (runs / ".figures/index.jsonl").write_text("\n".join(lines))
    index = Index(runs)
    assert index.read() == []
    assert index.entries(("fit/a", "fit", "2030")) is None


def test_what_no_run_needs_is_removed_after_a_day(tmp_path):
    index = Index(tmp_path)
    index.folder.mkdir()
    (tmp_path / "fit/a").mkdir(parents=True)
    index.add(("fit/a", "fit", "2030"), [["a.png", "1" * 20 + "-640.webp"]])
    index.add(("fit/gone", "fit", "2030"), [["a.png", "2" * 20 + "-640.webp"]])
    for name in ("1" * 20 + "-640.webp", "2" * 20 + "-640.webp", "3" * 20 + ".png", "new.png"):
        (index.folder / name).write_bytes(b"")
        if name != "new.png":
            os.utime(index.folder / name, (0, 0))
    index.tidy({"3" * 20 + ".png"})
    left = sorted(path.name for path in index.folder.iterdir())
    assert left == ["1" * 20 + "-640.webp", "3" * 20 + ".png", "index.jsonl", "new.png"]


# ---- The process


def start_process(runs: Path, jobs: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "pytest_ductaflow.report.figures.process", str(runs), str(jobs)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def test_the_process_does_what_is_left_after_the_session(tmp_path):
    runs, jobs = tmp_path / "runs", tmp_path / "jobs"
    record = record_of(outputs={"a.png": digest(noisy(runs / "fit/a/a.png"))})
    jobs.write_text("no job\n" + json.dumps(Job.of("fit/a", record).to_json()) + "\nend\n")
    process = start_process(runs, jobs)
    assert process.wait(120) == 0
    process.stdin.close()
    index = Index(runs)
    assert index.read() == [("fit/a", "fit", "2030")]
    assert not jobs.exists()


def test_the_process_ends_with_a_session_that_is_killed(tmp_path):
    runs, jobs = tmp_path / "runs", tmp_path / "jobs"
    runs.mkdir()
    jobs.write_text("")
    process = start_process(runs, jobs)
    time.sleep(0.1)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(120) == 1
    assert not jobs.exists()
