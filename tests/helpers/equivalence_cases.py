"""Flows for which ordinary papermill and we must produce the same notebook and the same files.

Each is a flow in the percent format without its parameters cell. They print nothing that differs from
run to run, unless `hide` takes it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

PARAMETERS = '# %% tags=["parameters"]\nconfig = {}\n\n# %%\n'
# What the kernel reads from a descriptor reaches the notebook through a separate thread, which does not
# signal when it is done; what it sends after the end of the cell is dropped.
WAIT_FOR_DESCRIPTORS = "import time; time.sleep(0.5)"


@dataclass(frozen=True)
class Case:
    """A flow, and how to compare its runs.

    Attributes:
        name: Topic of the flow.
        code: Its cells.
        shows: A text that the notebook must contain, as proof that the flow did what it tests.
        ends: "well", or the type of the failure that ends it.
        config: Its config.
        files: Names of the files that it leaves.
        needs: Modules without which it is skipped.
        hide: Patterns of text that differs between any two runs, each with a replacement to compare.
        instead: Patterns of text in papermill's notebook, and what ours has in its place on purpose.
            `{root}` is the project's root.
        papermill_ends: How papermill ends it, where that differs on purpose.
        papermill_runs_on: Whether papermill, unlike us, continues after the cell that ends the flow: the
            cells after it are empty in ours.
    """

    name: str
    code: str
    shows: str
    ends: str = "well"
    config: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    hide: Mapping[str, str] = field(default_factory=dict)
    instead: Mapping[str, str] = field(default_factory=dict)
    papermill_ends: str | None = None
    papermill_runs_on: bool = False

    @property
    def source(self) -> str:
        return PARAMETERS + dedent(self.code).lstrip("\n")


TIME = {r"[\d.e+]+ ?(?:ns|[uµμ]s|ms|s)\b": "TIME"}

STREAMS = (
    Case("stdout", "print('to stdout')", shows="to stdout\n"),
    Case("stderr", "import sys\nprint('to stderr', file=sys.stderr)", shows="to stderr\n"),
    Case(
        "both_streams_interleaved",
        """
        import sys
        for number in range(6):
            print(number, file=(sys.stdout, sys.stderr)[number % 2], flush=True)
        """,
        shows="5\n",
    ),
    Case(
        "print_without_newline_and_flush",
        """
        print("one ", end="")
        print("two ", end="", flush=True)
        import sys
        sys.stdout.write("three")
        # %%
        sys.stdout.writelines(["a", "b"])
        """,
        shows="one two three",
    ),
    Case(
        "carriage_returns",
        """
        import time
        for percent in range(0, 101, 20):
            print(f"\\r{percent:3d} %", end="", flush=True)
        print("\\b\\b\\x1b[31mred\\x1b[0m")
        """,
        shows="\r100 %",
    ),
    Case(
        "tqdm",
        """
        import sys
        from tqdm import tqdm
        for _ in tqdm(range(5), bar_format="{l_bar}{bar}{n_fmt}/{total_fmt}", mininterval=0, ncols=60):
            pass
        for _ in tqdm("ab", file=sys.stdout, bar_format="{n_fmt} of {total_fmt}", mininterval=0):
            pass
        """,
        shows="100%",
    ),
    Case(
        "fifteen_megabytes",
        """
        for number in range(3):
            print(str(number) * 5_000_000)
        """,
        shows="000",
    ),
    Case("very_long_line", "print('long ' * 400_000, 'end')", shows="long long"),
    Case(
        "unicode_and_emoji",
        """
        print("Zürich, 東京, \N{SLIGHTLY SMILING FACE}, e\N{COMBINING ACUTE ACCENT}, \u202eright to left")
        with open("größe.txt", "w", encoding="utf-8") as file:
            file.write("µ")
        "\N{GRINNING FACE}"
        """,
        shows="東京",
        files=("größe.txt",),
    ),
    Case(
        "nul_and_control_characters",
        r"""
        print("a\0b\x01\x7f\x1b[0m\t|\v\f|")
        print(b"\x00\xff")
        b"\x00\xff"
        """,
        shows="a\0b",
    ),
    Case(
        "lone_surrogates",
        r"""
        "value \udcfc"
        # %%
        print("after")
        """,
        shows="after",
    ),
    Case(
        "warnings",
        """
        import warnings
        def old():
            warnings.warn("old is old", DeprecationWarning, stacklevel=2)
        warnings.warn("beware")
        old()
        for _ in range(2):
            warnings.warn("once per place", RuntimeWarning)
        print(len(warnings.filters) > 0)
        """,
        shows="UserWarning: beware",
    ),
    Case(
        "logging_without_handlers",
        """
        import logging
        logging.getLogger("pump").debug("nothing to see")
        logging.getLogger("pump").warning("dry")
        # %%
        logging.getLogger("pump").error("broken")
        # %%
        print("begin", flush=True)
        logging.getLogger("pump").info("well")
        """,
        shows="dry\n",
        # We print the level, and what is logged at INFO.
        instead={
            r"dry\n": "WARNING: dry\n",
            r"broken\n": "ERROR: \N{WARNING SIGN}\N{VARIATION SELECTOR-16} broken\n",
            r"begin\n": "begin\nwell\n",
        },
    ),
    Case(
        "logging_with_handlers",
        """
        import logging, sys
        logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(name)s %(msg)s")
        logging.info("begin")
        logging.getLogger("a.b").warning("careful")
        handler = logging.FileHandler("own.log")
        logging.getLogger("file").addHandler(handler)
        logging.getLogger("file").error("to both")
        """,
        shows="WARNING a.b careful",
        files=("own.log",),
    ),
    Case(
        "prints_from_threads",
        """
        import threading
        def work(number):
            print(f"thread {number}", flush=True)
        for number in range(5):
            thread = threading.Thread(target=work, args=(number,))
            thread.start()
            thread.join()
        # %%
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(4) as pool:
            print(sum(pool.map(lambda number: number**2, range(100))))
        """,
        shows="thread 4",
    ),
    Case(
        "thread_over_cells",
        """
        import threading
        go, done = threading.Event(), []
        def work():
            go.wait()
            done.append(threading.current_thread().name)
        thread = threading.Thread(target=work, name="worker", daemon=True)
        thread.start()
        # %%
        go.set()
        thread.join()
        done
        """,
        shows="['worker']",
    ),
    Case(
        "input",
        """
        try:
            input("name? ")
        except Exception as error:
            print(type(error).__name__, error)
        # %%
        input("again? ")
        """,
        shows="StdinNotImplementedError",
        ends="StdinNotImplementedError",
    ),
    Case(
        "getpass",
        "import getpass\ngetpass.getpass()",
        shows="StdinNotImplementedError",
        ends="StdinNotImplementedError",
    ),
)

DISPLAYS = (
    Case(
        "rich_display",
        """
        from IPython.display import HTML, JSON, SVG, Image, Javascript, Latex, Markdown, Math, Video, display
        display(HTML("<b>bold</b>"), Markdown("*text*"))
        display(Latex("$x$"), Math("x^2"))
        display(SVG('<svg xmlns="http://www.w3.org/2000/svg"/>'), JSON({"a": [1, None]}))
        display(Javascript("1"), {"text/plain": "plain", "application/x-own+json": {"b": 2}}, raw=False)
        display({"text/plain": "plain", "application/x-own+json": {"b": 2}}, raw=True, metadata={"m": 1})
        # %%
        import base64
        png = base64.b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
        )
        Image(png, width=10, alt="a dot")
        """,
        shows="<b>bold</b>",
    ),
    Case(
        "own_representations",
        """
        class Own:
            def _repr_html_(self):
                return "<i>own</i>"
            def _repr_mimebundle_(self, include=None, exclude=None):
                return {"text/latex": "$own$"}, {"text/latex": {"size": 1}}
            def __repr__(self):
                return "own"
        Own()
        """,
        shows="$own$",
    ),
    Case(
        "broken_representation",
        """
        class Broken:
            def _repr_html_(self):
                raise ValueError("no page")
            def __repr__(self):
                return "broken"
        Broken()
        # %%
        print("never")
        """,
        shows="no page",
        ends="ValueError",
    ),
    Case(
        "last_expressions",
        """
        1 + 1
        # %%
        "text"
        # %%
        None
        # %%
        42;
        # %%
        [list(range(100)), {"a": {1, 2}}, 1.5]
        # %%
        3; 4
        # %%
        x = 5
        """,
        shows="'text'",
    ),
    Case(
        "data_frames",
        """
        import pandas as pd
        table = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
        table
        # %%
        table["a"]
        # %%
        big = pd.DataFrame({f"column {n}": range(1000) for n in range(50)})
        big
        # %%
        table.style.format(precision=1).set_uuid("fixed")
        # %%
        table.describe(), big.dtypes.value_counts()
        """,
        shows="1000 rows",
    ),
    Case(
        "update_display",
        """
        from IPython.display import display, update_display
        handle = display("first", display_id="fixed")
        display("other", display_id="other")
        # %%
        handle.update("second")
        update_display({"text/plain": "third"}, raw=True, display_id="other")
        # %%
        display("fourth", display_id="fixed")
        """,
        shows="third",
    ),
    Case(
        "clear_output",
        """
        from IPython.display import clear_output, display
        print("gone at once")
        clear_output()
        print("stays")
        # %%
        display("gone when the next comes")
        clear_output(wait=True)
        display("next")
        # %%
        print("kept, as nothing comes")
        clear_output(wait=True)
        """,
        shows="stays",
    ),
    Case(
        "figures",
        """
        import matplotlib.pyplot as plt
        plt.plot([1, 2, 4])
        # %%
        for factor in (1, 2):
            plt.figure(figsize=(3, 2))
            plt.plot([factor, 2 * factor])
        # %%
        figure, axes = plt.subplots(figsize=(2, 2))
        axes.imshow([[0, 1], [1, 0]])
        plt.show()
        print("after the figure")
        # %%
        figure
        # %%
        plt.get_backend(), plt.rcParams["figure.dpi"], plt.rcParams["font.size"], plt.get_fignums()
        """,
        shows="image/png",
        needs=("matplotlib",),
    ),
    Case(
        "figure_formats",
        """
        %matplotlib inline
        %config InlineBackend.figure_formats = ["svg", "png"]
        %config InlineBackend.print_figure_kwargs = {"bbox_inches": None, "metadata": {"Date": None}}
        import matplotlib.pyplot as plt
        plt.rcParams["svg.hashsalt"] = "fixed"
        plt.figure(figsize=(2, 1))
        plt.plot([1, 2]);
        # %%
        plt.savefig("empty.png")
        plt.close("all")
        """,
        shows="image/svg+xml",
        needs=("matplotlib",),
        files=("empty.png",),
    ),
    Case(
        "widget_by_comm",
        """
        from comm import create_comm
        from IPython.display import display
        state = {"_model_module": "own", "_model_name": "Model", "value": 1}
        comm = create_comm(
            target_name="jupyter.widget",
            comm_id="fixed",
            data={"state": state, "buffer_paths": []},
            metadata={"version": "2.1.0"},
        )
        view = {"model_id": "fixed", "version_major": 2, "version_minor": 0}
        display({"application/vnd.jupyter.widget-view+json": view, "text/plain": "view"}, raw=True)
        # %%
        comm.send(data={"method": "update", "state": {"value": 2}, "buffer_paths": []})
        raw = {"method": "update", "state": {"raw": None}, "buffer_paths": [["raw"]]}
        comm.send(data=raw, buffers=[b"\\x00\\xff"])
        """,
        shows="application/vnd.jupyter.widget-state+json",
    ),
    Case(
        "ipywidgets",
        """
        import ipywidgets
        slider = ipywidgets.IntSlider(3)
        slider
        # %%
        slider.value = 7
        box = ipywidgets.Output()
        box
        # %%
        with box:
            print("into the box")
        print(len(box.outputs))
        """,
        shows="IntSliderModel",
        needs=("ipywidgets",),
        hide={r"[0-9a-f]{32}": "MODEL"},
    ),
    Case(
        "hundreds_of_displays",  # papermill can lose some of more than 1,000
        """
        from IPython.display import display
        for number in range(500):
            display(number)
        """,
        shows="499",
    ),
)

MAGICS = (
    Case(
        "timing_magics",
        """
        %%time
        print("timed")
        # %%
        %time 1 + 1
        # %%
        %timeit -n1 -r1 sum(range(10))
        """,
        shows="Wall time",
        hide=TIME,
    ),
    Case(
        "env_and_cd",
        """
        %env OWN_VARIABLE=1
        # %%
        import os
        %env OWN_VARIABLE
        # %%
        %mkdir -p sub
        %cd -q sub
        os.path.basename(os.getcwd())
        # %%
        open("below.txt", "w").write(os.environ["OWN_VARIABLE"])
        """,
        shows="env: OWN_VARIABLE=1",
        files=("sub/below.txt",),
    ),
    Case(
        "capture",
        """
        %%capture caught
        print("captured")
        1
        # %%
        print(caught.stdout.upper())
        caught.outputs
        """,
        shows="CAPTURED",
    ),
    Case(
        "writefile_and_run",
        """
        %%writefile script.py
        import sys
        print("in the script", __name__, sys.argv[1:])
        found = 5
        # %%
        %run script.py one two
        # %%
        found
        # %%
        %%file -a script.py
        print("more")
        # %%
        %run -n script.py
        """,
        shows="in the script __main__ ['one', 'two']",
        files=("script.py",),
    ),
    Case(
        "shell",
        """
        !echo from the shell
        !echo to stderr 1>&2
        # %%
        lines = !printf 'a\\nb\\n'
        lines
        # %%
        !exit 3
        _exit_code
        # %%
        %system echo system
        """,
        shows="from the shell",
    ),
    Case(
        "bash_cells",
        """
        %%bash
        echo from bash
        echo from bash to stderr >&2
        printf text > bash.txt
        # %%
        %%bash --out caught
        echo caught
        # %%
        caught
        # %%
        %%bash
        exit 3
        """,
        shows="from bash",
        ends="CalledProcessError",
        files=("bash.txt",),
    ),
    Case(
        "script_cells",
        """
        %%python3
        print("a process of its own", __name__)
        # %%
        %%html
        <b>html</b>
        # %%
        %%latex
        $x$
        # %%
        %%javascript
        1
        """,
        shows="a process of its own __main__",
    ),
    Case(
        "autoreload",
        """
        %load_ext autoreload
        %autoreload 2
        # %%
        import os
        with open("own_module.py", "w") as file:
            file.write("value = 1")
        os.utime("own_module.py", (1e9, 1e9))
        import own_module
        own_module.value
        # %%
        with open("own_module.py", "w") as file:
            file.write("value = 222")
        os.utime("own_module.py", (2e9, 2e9))
        # %%
        own_module.value
        """,
        shows="222",
        files=("own_module.py",),
    ),
    Case(
        "history",
        """
        1
        # %%
        2
        # %%
        (_, __, ___)
        # %%
        In[1:], Out
        # %%
        %history
        # %%
        _i, _ii, _4, sorted(_oh), len(_dh)
        # %%
        %who
        # %%
        %whos str
        """,
        shows="(2, 1, '')",
    ),
    Case(
        "unknown_magic",
        """
        %no_such_magic
        # %%
        print("runs on")
        """,
        shows="UsageError",
        ends="UsageError",
        papermill_ends="CellExecutionError",
    ),
)

# The advice on leaving a prompt is useless in a flow.
NO_ADVICE = {r"\S+interactiveshell\.py:\d+: UserWarning: To exit: .*\n.*\n": ""}

ERRORS = (
    Case(
        "exception",
        """
        print("before")
        # %%
        def f(x):
            return 1 / x

        f(0)
        # %%
        print("never")
        """,
        shows="ZeroDivisionError",
        ends="ZeroDivisionError",
    ),
    Case(
        "chain_of_exceptions",
        """
        class Own(Exception):
            pass
        def read():
            try:
                {}["key"]
            except KeyError as error:
                raise Own("not there") from error
        try:
            read()
        except Own as error:
            error.add_note("a note")
            raise ExceptionGroup("several", [error, TypeError("two")])
        """,
        shows="direct cause",
        ends="ExceptionGroup",
        papermill_ends="CellExecutionError",  # IPython prints groups: there is no error in the notebook
    ),
    Case(
        "error_in_a_library",
        """
        import json
        json.loads("{")
        """,
        shows="JSONDecodeError",
        ends="JSONDecodeError",
    ),
    Case("syntax_error", "x = = 1\nprint('never')", shows="SyntaxError", ends="SyntaxError"),
    Case(
        "raises_exception_tag",
        """
        print("before")
        # %% tags=["raises-exception"]
        1 / 0
        # %%
        print("after")
        """,
        shows="after",
        # papermill continues, and then takes the expected error for a failure.
        papermill_ends="ZeroDivisionError",
    ),
    Case(
        "sys_exit_0",
        """
        import sys
        print("before")
        sys.exit(0)
        # %%
        print("never")
        """,
        shows="SystemExit",
        instead=NO_ADVICE,
    ),
    Case(
        "sys_exit_3",
        "import sys\nsys.exit(3)\n# %%\nprint('never')",
        shows="SystemExit",
        ends="SystemExit",
        instead=NO_ADVICE,
    ),
    Case(
        "exit",
        """
        print("before")
        # %%
        exit()
        # %%
        print("ran on")
        """,
        shows="before",
        # A notebook's own `exit` asks the kernel to stop later; ours ends the flow, as in a script.
        papermill_runs_on=True,
    ),
    Case(
        "keyboard_interrupts",
        """
        import signal
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            print("caught")
        # %%
        raise KeyboardInterrupt("from the flow")
        """,
        shows="caught",
        ends="KeyboardInterrupt",
    ),
    Case(
        "deep_recursion",
        """
        import sys
        def depth(n):
            return 0 if n == 0 else 1 + depth(n - 1)
        try:
            depth(1_000_000)
        except RecursionError as error:
            print(error)
        sys.setrecursionlimit(6_000)
        print(depth(5_000))
        # %%
        # The traceback of the error itself has a few frames more or less, as the kernel was started.
        sys.setrecursionlimit(3_000)
        try:
            depth(1_000_000)
        except RecursionError as error:
            raise OverflowError("too deep") from error.with_traceback(None)
        """,
        shows="5000",
        ends="OverflowError",
    ),
    Case(
        "killed",
        f"""
        print("before")
        # %%
        import os, signal
        {WAIT_FOR_DESCRIPTORS}
        os.kill(os.getpid(), signal.SIGKILL)
        # %%
        print("never")
        """,
        shows="before",
        ends="KernelDied",
        papermill_ends="DeadKernelError",
    ),
)

PROCESSES = (
    Case(
        "subprocess",
        f"""
        import subprocess, sys
        code = "import sys, time; print('out', flush=True); time.sleep(0.3); print('err', file=sys.stderr)"
        subprocess.run([sys.executable, "-c", code], check=True)
        {WAIT_FOR_DESCRIPTORS}
        # %%
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        # %%
        subprocess.check_output("cat; pwd | xargs basename; exit 0", shell=True, input=b"stdin ")
        # %%
        subprocess.run("exit 3", shell=True, check=True)
        """,
        shows="out\n",
        ends="CalledProcessError",
        hide={r"/\S*/python[\d.]*": "PYTHON"},
    ),
    Case(
        "descriptors_of_the_process",
        f"""
        import os
        os.system("echo from os.system")
        {WAIT_FOR_DESCRIPTORS}
        # %%
        os.write(1, b"from os.write to 1\\n");
        {WAIT_FOR_DESCRIPTORS}
        # %%
        os.write(2, b"from os.write to 2\\n");
        {WAIT_FOR_DESCRIPTORS}
        # %%
        import ctypes
        ctypes.CDLL(None).puts(b"from C")
        ctypes.CDLL(None).fflush(None);
        {WAIT_FOR_DESCRIPTORS}
        # %%
        os.popen("echo from popen").read()
        """,
        shows="from os.write to 2",
    ),
    Case(
        "stdin",
        """
        import os, sys
        print(os.read(0, 10), repr(sys.stdin.read()), sys.stdin.isatty())
        import subprocess
        subprocess.run(["cat"], capture_output=True)
        """,
        shows="b'' ''",
    ),
    Case(
        "pool_of_forks",
        """
        import multiprocessing
        def square(x):
            return x * x, multiprocessing.current_process().name.partition("-")[0]
        with multiprocessing.get_context("fork").Pool(2) as pool:
            print(pool.map(square, range(5)))
        # %%
        import os
        child = os.fork()
        if child == 0:
            os._exit(7)
        os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        """,
        shows="(16, 'ForkPoolWorker')",
    ),
    Case(
        "spawned_processes",
        """
        %%writefile own_work.py
        import os, sys
        def square(x):
            return x * x, __name__, sys.flags.dev_mode
        # %%
        import multiprocessing
        from own_work import square
        context = multiprocessing.get_context("spawn")
        with context.Pool(2) as pool:
            print(pool.map(square, range(5)))
        # %%
        queue = context.Queue()
        process = context.Process(target=queue.put, args=("from the process",), name="own")
        process.start()
        print(queue.get(), process)
        process.join()
        process.exitcode
        """,
        shows="(16, 'own_work'",
        files=("own_work.py",),
        hide={r"pid=\d+ parent=\d+": "PIDS"},
    ),
    Case(
        "process_pool_executor",
        """
        import concurrent.futures, multiprocessing
        def halve(x):
            return 10 / x
        def pool():
            context = multiprocessing.get_context("fork")
            return concurrent.futures.ProcessPoolExecutor(2, mp_context=context)
        with pool() as executor:
            print(list(executor.map(halve, [1, 2, 5])))
        # %%
        with pool() as executor:
            error = executor.submit(halve, 0).exception()
        type(error), error.args
        """,
        shows="[10.0, 5.0, 2.0]",
    ),
    Case(
        "shared_memory",
        """
        from multiprocessing import Manager, get_context, shared_memory
        block = shared_memory.SharedMemory(create=True, size=10)
        def fill(name):
            other = shared_memory.SharedMemory(name)
            other.buf[:3] = b"abc"
            other.close()
        process = get_context("fork").Process(target=fill, args=(block.name,))
        process.start()
        process.join()
        print(bytes(block.buf[:3]), process.exitcode)
        block.close()
        block.unlink()
        # %%
        with Manager() as manager:
            shared = manager.dict(a=1)
            print(shared.copy())
        """,
        shows="b'abc' 0",
    ),
    Case(
        "joblib",
        """
        from joblib import Memory, Parallel, delayed
        def cube(x):
            return x**3
        Parallel(n_jobs=2)(delayed(cube)(x) for x in range(5))
        # %%
        Parallel(n_jobs=2, backend="threading")(delayed(cube)(x) for x in range(5))
        """,
        shows="[0, 1, 8, 27, 64]",
        needs=("joblib",),
    ),
    Case(
        "threads_of_libraries",
        """
        import numpy as np
        rng = np.random.default_rng(1)
        a = rng.random((700, 700))
        print(np.allclose(np.linalg.inv(a) @ a, np.eye(700)))
        print(np.geterr(), np.get_printoptions()["precision"])
        np.array([1.0]) / 0
        """,
        shows="RuntimeWarning: divide by zero",
    ),
    Case(
        "openmp",
        """
        import numpy as np
        from sklearn.cluster import KMeans
        from sklearn.ensemble import HistGradientBoostingRegressor
        rng = np.random.default_rng(1)
        x = rng.random((20_000, 4))
        print(KMeans(3, n_init=1, random_state=1).fit(x).cluster_centers_.round(3).tolist())
        model = HistGradientBoostingRegressor(max_iter=10, random_state=1).fit(x, x.sum(axis=1))
        round(model.score(x, x.sum(axis=1)), 3)
        # %%
        from threadpoolctl import threadpool_info
        sorted((pool["user_api"], pool["num_threads"]) for pool in threadpool_info())
        """,
        shows="openmp",
        needs=("sklearn",),
    ),
    Case(
        "signals",
        """
        import os, signal
        caught = []
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
            before = signal.signal(number, lambda number, frame: caught.append(signal.Signals(number).name))
            os.kill(os.getpid(), number)
            signal.signal(number, before)
        caught
        # %%
        old = signal.signal(signal.SIGALRM, lambda *_: caught.append("timer"))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        signal.pause()
        signal.signal(signal.SIGALRM, old)
        caught[-1]
        """,
        shows="'timer'",
    ),
)

PYTHON = (
    Case(
        "asyncio_at_top_level",
        """
        import asyncio
        async def f(x):
            await asyncio.sleep(0)
            return x + 1
        await f(1)
        # %%
        await asyncio.gather(*(f(x) for x in range(3)), return_exceptions=True)
        # %%
        async with asyncio.timeout(10):
            print(await asyncio.wait_for(f(5), 5))
        # %%
        loop = asyncio.get_running_loop()
        loop.is_running(), loop.get_debug(), await loop.run_in_executor(None, sum, [1, 2])
        # %%
        process = await asyncio.create_subprocess_shell("echo async", stdout=asyncio.subprocess.PIPE)
        await process.communicate()
        # %%
        asyncio.run(f(1))
        """,
        shows="[1, 2, 3]",
        ends="RuntimeError",
    ),
    Case(
        "asyncio_over_cells",
        """
        import asyncio
        event = asyncio.Event()
        async def wait():
            await event.wait()
            return "done"
        task = asyncio.create_task(wait(), name="own")
        # %%
        print(task.done(), task.get_name())
        event.set()
        # %%
        await task
        # %%
        async def fail():
            raise ValueError("in the task")
        await asyncio.create_task(fail())
        """,
        shows="'done'",
        ends="ValueError",
    ),
    Case(
        "async_generators",
        """
        async def numbers():
            for number in range(3):
                yield number
        async for number in numbers():
            print(number)
        # %%
        [number * 2 async for number in numbers()]
        """,
        shows="[0, 2, 4]",
    ),
    Case(
        "at_exit",
        """
        import atexit
        @atexit.register
        def write():
            with open("at_exit.txt", "w") as file:
                file.write("written at the end")
        """,
        shows="",
        files=("at_exit.txt",),
    ),
    Case(
        "file_left_open",
        """
        file = open("open.txt", "w")
        file.write("not flushed");
        # %%
        import gzip
        zipped = gzip.GzipFile("open.gz", "wb", mtime=0)
        zipped.write(b"data")
        zipped.flush()
        """,
        shows="",
        files=("open.gz", "open.txt"),
    ),
    Case(
        "finalizers",
        """
        import weakref
        class Held:
            pass
        def write(name):
            with open(name, "w") as file:
                file.write("finalized")
        held, dropped = Held(), Held()
        weakref.finalize(held, write, "held.txt")
        weakref.finalize(dropped, write, "dropped.txt");
        # %%
        import os
        del dropped
        os.path.exists("dropped.txt"), os.path.exists("held.txt")
        # %%
        import threading
        threading.Thread(target=lambda: threading.main_thread().join() or write("thread.txt")).start()
        """,
        shows="(True, False)",
        files=("dropped.txt", "held.txt", "thread.txt"),
    ),
    Case(
        "parquet",
        """
        import pandas as pd
        table = pd.DataFrame({"a": range(1000), "b": [f"text {n % 7}" for n in range(1000)]})
        table.to_parquet("table.parquet")
        # %%
        again = pd.read_parquet("table.parquet")
        print(again.equals(table))
        again.groupby("b")["a"].sum()
        # %%
        import pyarrow as pa, pyarrow.compute as pc
        pa.cpu_count() > 0, pc.sum(pa.array(range(1_000_000))).as_py()
        """,
        shows="True\n",
        needs=("pyarrow",),
        files=("table.parquet",),
    ),
    Case(
        "sqlite",
        """
        import sqlite3
        with sqlite3.connect("own.db") as connection:
            connection.execute("create table t (a integer, b text)")
            connection.executemany("insert into t values (?, ?)", [(1, "x"), (2, "y")])
        print(connection.execute("select sum(a) from t").fetchone())
        """,
        shows="(3,)",
        files=("own.db",),
    ),
    Case(
        "temporary_files",
        """
        import os, tempfile
        with tempfile.TemporaryDirectory() as folder:
            print(os.path.dirname(folder) == tempfile.gettempdir(), oct(os.stat(folder).st_mode))
        with tempfile.NamedTemporaryFile("w+", dir=".") as file:
            file.write("text")
            file.seek(0)
            print(file.read())
        """,
        shows="True 0o40700",
    ),
    Case(
        "pickled_classes",
        """
        import pickle
        class Point:
            def __init__(self, x):
                self.x = x
        with open("point.pickle", "wb") as file:
            pickle.dump([Point(1), {"a": Point}], file, protocol=4)
        # %%
        with open("point.pickle", "rb") as file:
            points = pickle.load(file)
        points[0].x, Point.__module__, Point.__qualname__, points[1]["a"] is Point
        # %%
        pickle.dumps(lambda: 1)
        """,
        shows="'__main__'",
        ends="PicklingError",
        files=("point.pickle",),
    ),
    Case(
        "definitions",
        """
        from __future__ import annotations
        import dataclasses, enum, inspect, typing
        @dataclasses.dataclass(order=True, slots=True)
        class Row:
            name: str
            values: list[int] = dataclasses.field(default_factory=list)
        class Colour(enum.Enum):
            RED = 1
        class Pair(typing.NamedTuple):
            a: int
            b: Row
        def area(a: float, b: float) -> float:
            return a * b
        Pair(1, Row("x", [2])), Colour.RED
        # %%
        typing.get_type_hints(Row), typing.get_type_hints(Pair)["b"] is Row
        # %%
        print(inspect.getsource(area))
        number: int = 5
        __annotations__, Row.__module__
        """,
        shows="Row(name='x', values=[2])",
    ),
    Case(
        "markdown_raw_and_empty_cells",
        """
        # only a comment

        # %%

        # %% [markdown] tags=["own"]
        # # Title
        # text

        # %% [raw]
        # raw text

        # %% tags=["own", "hide-input"] own_key="own value"
        1

        # %%
        # another comment

        # %% [markdown]
        # The end.
        """,
        shows="own value",
    ),
    Case(
        "parameters",
        """
        print(speed, name, sorted(config), config["group"], nothing, ratio)
        config["a key"], "nested" in vars()
        """,
        shows="5 fast",
        config={
            "speed": 5,
            "name": "fast",
            "ratio": 0.1,
            "nothing": None,
            "a key": "größe",
            "group": {"nested": [1, True]},
        },
    ),
)

FACTS = (
    Case(
        "facts_of_the_shell",
        """
        shell = get_ipython()
        print(type(shell).__module__, type(shell).__name__, type(shell.kernel).__name__)
        print(sorted(shell.user_ns), sorted(shell.user_ns_hidden.keys() - shell.user_ns.keys()))
        print(shell.execution_count, shell.history_manager.input_hist_parsed)
        print(type(shell.display_pub).__name__, type(shell.displayhook).__name__, shell.colors)
        print(sorted(shell.extension_manager.loaded), sorted(shell.events.callbacks))
        print(sum(map(len, shell.magics_manager.magics.values())), shell.autoawait)
        print(shell.ast_node_interactivity)
        # %%
        print(sorted(globals()) == sorted(shell.user_ns), __name__, __builtins__, "__file__" in globals())
        print(shell.user_module, __doc__)
        # %%
        import sys
        main = sys.modules["__main__"]
        print(main is shell.user_module, getattr(main, "__file__", None), getattr(main, "__spec__", None))
        """,
        shows="ZMQInteractiveShell",
    ),
    Case(
        "facts_of_python",
        """
        import asyncio, gc, locale, multiprocessing, os, sys, threading, warnings
        print(len(sys.argv), os.path.basename(sys.argv[0]), sys.executable, sys.prefix, sys.base_prefix)
        print(*sys.path, "end of path", sep="\\n")
        print(sys.flags, sys.warnoptions, sys._xoptions, sys.dont_write_bytecode, sys.pycache_prefix)
        print(sys.getrecursionlimit(), sys.getswitchinterval(), sys.gettrace(), sys.getprofile())
        print(gc.isenabled(), gc.get_threshold(), gc.get_debug(), gc.callbacks)
        print(locale.getlocale(), locale.getpreferredencoding(), sys.getfilesystemencoding())
        print([locale.setlocale(category) for category in (locale.LC_CTYPE, locale.LC_NUMERIC)])
        print(multiprocessing.current_process().name, multiprocessing.get_start_method(allow_none=True))
        print(multiprocessing.parent_process(), multiprocessing.current_process().daemon)
        print(threading.current_thread() is threading.main_thread(), threading.current_thread().name)
        print(threading.stack_size(), threading.excepthook.__name__, threading.gettrace())
        print(type(asyncio.get_running_loop()).__name__, type(asyncio.get_event_loop_policy()).__name__)
        print(sys.breakpointhook.__module__, sys.excepthook.__qualname__, type(sys.displayhook).__name__)
        print([(type(s).__name__, s.encoding, s.errors, s.isatty()) for s in (sys.stdout, sys.stderr)])
        print(type(sys.stdin).__name__, sys.stdin.encoding, sys.stdin.isatty(), sys.stdin.fileno())
        """,
        shows="MainProcess",
        # Modules of the flow's folder and of the project can be imported.
        instead={r"\nend of path": "\n{root}/flows\n{root}\nend of path"},
    ),
    Case(
        "facts_of_the_process",
        """
        import os, resource, signal, sys
        print(os.getcwd(), os.path.realpath("."))
        mask = os.umask(0o22)
        os.umask(mask)
        print(oct(mask), os.nice(0), sorted(os.sched_getaffinity(0)), os.getuid(), os.getgroups())
        for number in sorted(signal.valid_signals()):
            print(number, signal.getsignal(number))
        print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getitimer(signal.ITIMER_REAL))
        for name in sorted(name for name in dir(resource) if name.startswith("RLIMIT_")):
            print(name, resource.getrlimit(getattr(resource, name)))
        print(os.getpid() == os.getpgid(0), os.getpid() == os.getsid(0))
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        for key in ("SigBlk", "SigIgn", "SigCgt", "Cpus_allowed", "CapEff"):
            print(key, status[key].strip())
        """,
        shows="RLIMIT_STACK",
    ),
    Case(
        "facts_by_which_libraries_know_a_notebook",
        """
        import sys
        for thing in (sys.stdout, sys.stderr, get_ipython(), sys.displayhook):
            print(type(thing).__module__, type(thing).__name__)
        print("IPKernelApp" in get_ipython().config, hasattr(sys, "ps1"), sys.stdout.isatty())
        """,
        shows="ipykernel.iostream OutStream",
    ),
    Case(
        "facts_of_the_environment",
        """
        import hashlib, os
        ours = ("DUCTAFLOW_", "_DUCTAFLOW_", "PYDEVD_", "PYTEST_")
        own = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        own["JPY_PARENT_PID"] = str(own["JPY_PARENT_PID"].isdigit())
        for key in sorted(own):  # not the values: one may be a secret, and failures are printed
            print(key, hashlib.sha256(own[key].encode("utf-8", "surrogateescape")).hexdigest()[:8])
        print(os.environ["MPLBACKEND"], os.environ.get("TERM"), os.environ.get("PAGER"))
        """,
        shows="JPY_PARENT_PID",
    ),
)

CASES = (*STREAMS, *DISPLAYS, *MAGICS, *ERRORS, *PROCESSES, *PYTHON, *FACTS)
