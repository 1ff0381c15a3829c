"""Execute a conductor again in a separate process, after its instances have ended.

`python -P -m pytest_ductaflow.planning.afterwards.after_process REQUEST RESULT`; both are JSON files. The
working directory is the project root, as at collection.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from ...core.run_directory.atomic import write_json
from ...core.system.child_process import end_with_parent
from ...kernels.inside import trace
from .. import conductor_file
from . import answers


def main() -> None:
    end_with_parent()
    request, result = sys.argv[1:3]
    data = json.loads(Path(request).read_text(encoding="utf-8"))
    answers.begin(data["answers"])
    trace.begin(data["trace"])
    _, stopped = conductor_file.run(Path(data["conductor"]))
    given = answers.current()
    if given is not None and (doubt := given.doubt) is not None:
        print(f"⚠️ {doubt}", flush=True)
    used = trace.used()
    write_json(Path(result), {"stopped": asdict(stopped) if stopped else None, "used": used})


if __name__ == "__main__":
    main()
