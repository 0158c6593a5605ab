"""A kmod package of the fake tree by the production path: compiled, packed, signed when asked for, built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from builder.model.cells import Artifact, Cell
from builder.model.matrix import Driver, Flavor, Kernel
from builder.model.modules import BuiltModules
from builder.model.naming import objects_folder
from builder.model.sources import DriverSources, KernelObject, SpecFile
from builder.pack import pack_modules, read_compiled, write_parts
from builder.render import MODULES_FOLDER, objects_of, render_kmod, render_modules
from builder.store import write_answers
from builder.tools.rpms import file_sha256
from builder.tools.run import run
from tests.golden import sample
from tests.tools.fake_trees import FakeModule, fake_modules, write_devel, write_kernel_tree, write_tarball
from tests.tools.rpm_building import build

Edit = Callable[[str], str]
Change = Callable[[list[FakeModule]], list[FakeModule]]
OBJECTS = (("nvidia", "nv-kernel.o_binary"), ("nvidia-modeset", "nv-modeset-kernel.o_binary"))


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltKmod:
    """The package, and the objects that its modules are joined with."""

    artifacts: list[Artifact]
    objects: Mapping[str, Path]


def host_kernel(folder: Path, kernel: Kernel = sample.K503, *, major: int | None = None) -> Kernel:
    """A kernel whose build tree lies in ``folder``; by default built by the host's own compiler."""
    host = int(run(["gcc", "-dumpversion"], timeout=10).stdout.split(".")[0])
    if not folder.exists():
        write_devel(folder, major=host if major is None else major)
    return replace(kernel, devel_path=str(folder))


def with_objects(sources: DriverSources, folder: Path) -> DriverSources:
    """These sources with object files that are really there, others for each driver and flavor."""
    kept = []
    for flavor, _ in sources.kernel_trees:
        place = folder / f"objects-{sources.driver_version}-{flavor}"
        place.mkdir(parents=True, exist_ok=True)
        found = []
        for module, name in OBJECTS:
            path = place / name
            path.write_bytes(f"{name} of {sources.driver_version} {flavor}\n".encode() * 500)
            size = path.stat().st_size
            found.append(KernelObject(module=module, filename=name, path=path, sha256=file_sha256(path), size=size))
        kept.append((flavor, tuple(found)))
    return replace(sources, objects=tuple(kept))


def build_kmod(
    folder: Path,
    *,
    kernel: Kernel | None = None,
    driver: Driver = sample.D535,
    flavor: Flavor = Flavor.OPEN,
    change: Change = lambda modules: modules,
    sign: Callable[[bytes], bytes] | None = None,
    signer: str | None = None,
    edit_modules: Edit = lambda text: text,
    edit: Edit = lambda text: text,
    spoil: Callable[[Path], object] | None = None,
) -> BuiltKmod:
    """Changes: the modules' sources, the compiling spec, the folder of packed parts, the packing spec."""
    here = kernel or host_kernel(folder / "devel")
    cell = sample.cell(here, driver, flavor)
    sources = with_objects(sample.sources(driver, folder=folder), folder)
    modules = change(fake_modules(driver, here.release, flavor))
    top = f"nvidia-kmod-{driver.version}-{flavor.value}"
    write_tarball(sources.kernel_tree(flavor).path, top, write_kernel_tree(modules))
    compiling = render_modules(cell, sources, sample.MATRIX)
    sources_of_it = (*compiling.sources, write_answers(folder, b""))
    spec = replace(compiling, text=edit_modules(compiling.text), sources=sources_of_it)
    (compiled,) = build(spec, folder / "compile")
    packing = _packed(cell, sources, compiled.path, folder, sign=sign, signer=signer, spoil=spoil)
    artifacts = build(replace(packing, text=edit(packing.text)), folder / "top")
    return BuiltKmod(artifacts=artifacts, objects={o.sha256: o.path for o in objects_of(cell, sources)})


def _packed(
    cell: Cell,
    sources: DriverSources,
    compiled: Path,
    folder: Path,
    *,
    sign: Callable[[bytes], bytes] | None,
    signer: str | None,
    spoil: Callable[[Path], object] | None,
) -> SpecFile:
    parts = folder / "parts"
    parts.mkdir(exist_ok=True)
    objects = objects_of(cell, sources)
    packed = pack_modules(read_compiled(compiled, MODULES_FOLDER, cell.driver.modules), objects, parts)
    built = BuiltModules(key="0", unit_id="x", folder=parts, modules=packed, seconds=0)
    files = write_parts(built, objects, objects_folder(cell.driver, cell.flavor), sign, parts)
    if spoil is not None:
        spoil(parts)
    return replace(render_kmod(cell, sources, sample.MATRIX, signer=signer), sources=files)
