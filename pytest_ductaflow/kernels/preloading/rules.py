"""List packages that must not be imported before a fork, and modules that others import on use."""

from __future__ import annotations

_GPU = "opens the GPU, which does not survive a fork"
_NEEDS_GPU = "imports a package that opens the GPU"
_THREADS = "starts threads or processes, which a fork loses"
_PATCHES = "replaces parts of the standard library"
_TRACES = "traces or tests the process in which it is imported"
_ACTS = "does something at import"

NEVER = {
    **dict.fromkeys(
        (
            *("torch", "tensorflow", "jax", "jaxlib", "cupy", "numba.cuda", "keras", "pycuda", "pyopencl"),
            *("cudf", "cuml", "rmm"),
        ),
        _GPU,
    ),
    **dict.fromkeys(
        (
            *("accelerate", "diffusers", "fastai", "lightning", "pytorch_lightning"),
            *("sentence_transformers", "timm", "torchvision", "transformers", "ultralytics"),
        ),
        _NEEDS_GPU,
    ),
    **dict.fromkeys(
        (
            *("dask.distributed", "distributed", "grpc", "IPython.parallel", "ipyparallel"),
            *("prefect", "pyspark", "ray", "streamlit", "wandb"),
        ),
        _THREADS,
    ),
    **dict.fromkeys(("eventlet", "gevent"), _PATCHES),
    **dict.fromkeys(("coverage", "debugpy", "pydevd", "pytest"), _TRACES),
    **dict.fromkeys(("antigravity", "this"), _ACTS),
}
"""Modules that are not preloaded, submodules included, and why."""

IN_ANY_ORDER: dict[str, tuple[str, ...]] = {
    "numpy": (),
    "pandas": ("numpy",),
    "matplotlib": ("numpy",),
    "matplotlib_inline": ("numpy", "matplotlib"),
    "scipy": ("numpy",),
    "sklearn": ("numpy", "scipy"),
    "statsmodels": (),
    "seaborn": ("numpy", "pandas", "matplotlib"),
}
"""Packages that are the same in whatever order they are imported, and what they import in any case."""

IMPORTED_BY_PARTS = dict.fromkeys(
    ("statsmodels.api", "statsmodels.formula.api"), ("numpy", "pandas", "scipy")
)
"""What some of their submodules import in addition."""

OWN = ("pytest_ductaflow", "ductaflow", "ductacore")
"""The names under which flows import this package."""

RUN_FLOWS = ("conduct", "run_notebook", "run_step_flow")
"""What a build imports from it to run flows."""

IMPORTED_ON_USE = {
    **dict.fromkeys(
        RUN_FLOWS, ("pytest_ductaflow.api.run_notebook", "pytest_ductaflow.running.children.flows_of_build")
    ),
    **dict.fromkeys(
        (
            *("display_config_summary", "is_notebook_execution", "load_cli_config"),
            *("setup_conductor_logging", "setup_execution_logging", "unpack_config"),
        ),
        ("pytest_ductaflow.api.in_flow",),
    ),
}
"""The modules of this package that its functions need, which are imported when a function is asked for."""

READ_AT_IMPORT = {"matplotlibrc": "matplotlib", ".numba_config.yaml": "numba"}
"""Files in the working directory that a package reads when it is imported."""

INLINE = "matplotlib_inline.backend_inline"
"""What shows figures in a notebook."""

DRAW_WITH_MATPLOTLIB = frozenset(
    (
        *("adjustText", "arviz", "cartopy", "contextily", "matplotlib", "missingno", "mpl_toolkits"),
        *("mplfinance", "plotnine", "pylab", "seaborn", "yellowbrick"),
    )
)
"""Packages that import matplotlib when they are imported."""

_PARQUET = ("pyarrow", "pyarrow.parquet")
_EXCEL = ("openpyxl",)

NEEDED_BY_CALLS = {
    **dict.fromkeys(("read_parquet", "to_parquet", "read_feather", "to_feather"), _PARQUET),
    **dict.fromkeys(("read_excel", "to_excel"), _EXCEL),
}
"""What pandas imports only when a function is called."""

NEEDED_BY_ARGUMENTS: dict[tuple[object, object], tuple[str, ...]] = {
    ("engine", "pyarrow"): _PARQUET,
    ("dtype_backend", "pyarrow"): _PARQUET,
}
"""The same for the value of an argument."""
