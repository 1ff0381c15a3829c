"""`--ductaflow-accept`: accept what an instance has written as the result of its present inputs.

For a change that is known to leave the results as they are (a refactoring of a model that takes ten
hours), where running again would only cost time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from ..core.errors import InUse, NothingToAccept
from ..core.instance import Instance, Neighbours, stem_of
from ..core.masking.config import digests_of_secrets
from ..core.record import Record
from ..core.run_directory import build_variable, layout, listing, record_files
from ..core.run_directory.layout import RunFiles
from ..core.settings import Settings
from ..core.system.instance_lock import held
from ..kernels.inside.trace import LISTED, OPENED, WRITTEN
from .digests import code_digest, config_digest, input_digest
from .inputs import InputSearch
from .observed import Used
from .paths_in_code import modules_named_in_code
from .up_to_date import check, missing, versions_now
from .upstreams import records_of, upstream_files, with_upstreams


def accept(instance: Instance, settings: Settings, *, neighbours: Neighbours) -> Record:
    """Update an instance's record so that its outputs belong to its present inputs.

    Args:
        instance: The instance; its record must be good and its outputs must exist.
        settings: For the default kernel.
        neighbours: The other instances that concern it.

    Returns:
        The updated record, marked `unchanged`.

    Raises:
        NothingToAccept: If it has no good outputs, is stored or is in use; the message says which.
    """
    files, label = RunFiles.of(instance), f"{instance.step}/{instance.name}"
    try:
        with held(files, instance.project_root, label, wait=False, say=lambda _: None):
            return _accept(instance, files, settings, neighbours)
    except InUse as error:
        raise NothingToAccept(str(error)) from None


def _accept(instance: Instance, files: RunFiles, settings: Settings, neighbours: Neighbours) -> Record:
    """Accept the outputs of an instance while its lock is held."""
    earlier, _ = record_files.read_record(files.record)
    label = f"{instance.step}/{instance.name}"
    if instance.stored_in:
        raise NothingToAccept(
            f"{label} is a stored instance and has to run: --ductaflow-update updates what is expected of it"
        )
    if earlier is None or not earlier.status.good:
        raise NothingToAccept(f"{label} has no good record to accept: it has to run")
    upstreams = records_of(neighbours)
    kernel = settings.kernel_of(instance)
    reasons = check(instance, earlier, upstreams, kernel, neighbours).reasons
    run_dir = layout.display_path(instance.run_dir, instance.project_root)
    earlier = earlier.with_(step=instance.step, instance=instance.name, run_dir=run_dir)
    if gone := next(missing(instance, earlier), None):
        what = gone.removeprefix("output ")
        raise NothingToAccept(f"{label}: {what} is not there any more: it has to run")
    if not reasons:
        return earlier.with_(unchanged=True)
    files_of_upstreams = upstream_files(upstreams, instance.project_root)
    search = InputSearch(instance, files_of_upstreams, earlier, neighbours.made_beside)
    inputs = search.finish(_as_if_used(instance, earlier), earlier.outputs, time.time_ns())
    record = _present(earlier, instance.project_root).with_(
        reason=f"accepted: {'; '.join(reasons)}",
        flow=layout.display_path(instance.flow, instance.project_root),
        kernel=kernel,
        cwd=instance.runs_in,
        config_digest=config_digest(instance.config),
        secrets=digests_of_secrets(instance),
        variables=build_variable.variables_of(instance),
        inputs=inputs.digests,
        code=inputs.code,
        stats=inputs.stats,
    )
    record = with_upstreams(record, instance, neighbours, upstreams)
    record_files.write_config(files, instance.full_config)
    record_files.write_record(files, record)
    _accept_flows(record.flows, instance.project_root)
    return record.with_(unchanged=True)


def _as_if_used(instance: Instance, earlier: Record) -> Used:
    """Return what a run would use: what the earlier one used, and the modules that the code imports now."""
    root = instance.project_root
    names = [name for name in earlier.inputs if not name.endswith("/**")]
    uses = [
        (LISTED if name.endswith("/") else OPENED, os.path.join(root, name.rstrip("/"))) for name in names
    ]
    # Mark outputs as written: those outside of the run directory that the code names would be inputs.
    paths = (os.path.normpath(os.path.join(instance.run_dir, name)) for name in earlier.outputs)
    uses += [(WRITTEN, path) for path in paths if layout.display_path(path, root) not in earlier.inputs]
    modules = (os.path.join(root, name) for name in _modules(instance.flow, earlier, root))
    return Used(uses=tuple(uses), modules=tuple(modules))


def _modules(flow: str, record: Record, root: str) -> set[str]:
    """Return the modules that a flow imported or imports now, with paths as in records."""
    known = {os.path.join(root, name) for name in record.code if name != record.flow}
    known = {path for path in known if os.path.isfile(path)}
    folders = (os.path.dirname(flow), root, *sorted({_import_folder(path) for path in known}))
    return {layout.display_path(path, root) for path in known | modules_named_in_code(flow, folders)}


def _import_folder(module: str) -> str:
    """Return the folder from which a module is imported: the one that holds its top-level package."""
    folder = os.path.dirname(module)
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder = os.path.dirname(folder)
    return folder


def _present(record: Record, root: str) -> Record:
    """Return a record, and those of its flows, with the present versions, outputs and inputs."""
    python, versions = versions_now(record)
    environment = {**record.environment, "python": python or record.environment.get("python", "")}
    if "kernel_path" not in environment:
        environment["executable"] = sys.executable
    names = sorted({*record.inputs, *_modules(os.path.join(root, record.flow), record, root)})
    sources = {name: code_digest(os.path.join(root, name)) for name in names if _is_code(name, record)}
    return record.with_(
        environment=environment,
        packages={name: versions[name] for name in record.packages if name in versions},
        outputs=listing.digests(Path(root, record.run_dir), record.outputs),
        inputs={name: input_digest(os.path.join(root, name)) for name in names},
        code={name: digest for name, digest in sources.items() if digest is not None},
        stats={},
        flows=tuple(_present(flow, root) for flow in record.flows),
    )


def _is_code(name: str, record: Record) -> bool:
    return name == record.flow or name.endswith(".py")


def _accept_flows(flows: Iterable[Record], root: str) -> None:
    """Write the accepted records of a build's flows, so that they keep their outputs when it runs again."""
    for flow in flows:
        files = RunFiles(Path(root, flow.run_dir), stem_of(flow.flow))
        there, _ = record_files.read_record(files.record)
        if there is not None and there.started == flow.started:
            record_files.write_record(files, flow.with_(unchanged=False))
        _accept_flows(flow.flows, root)
