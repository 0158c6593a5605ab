"""The templates of specs/ and mock-configs/: part of the program, filled with nothing but the values handed in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import jinja2

from builder.errors import RenderError
from builder.model.sources import SourceFile
from builder.render.values import rpm_text

# A wheel carries the templates below builder/data/, a checkout at its top (pyproject.toml, force-include).
_HERE = Path(__file__).resolve()
_ROOTS = (_HERE.parents[1] / "data", _HERE.parents[2])


def template_folder(kind: str) -> Path:
    """The folder of ``specs`` or ``mock-configs`` that belongs to this program."""
    for root in _ROOTS:
        if (root / kind).is_dir():
            return root / kind
    raise RenderError(f"the program's own {kind}/ folder is missing", hint="install repobuild again")


def _environment(folders: tuple[Path, ...], finalize: Callable[[object], object] | None) -> jinja2.Environment:
    return jinja2.Environment(  # noqa: S701  specs and python are no HTML; finalize escapes for rpm
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )


@cache
def _spec_environment() -> jinja2.Environment:
    return _environment((template_folder("specs"),), rpm_text)


def fill_spec(template: str, **values: object) -> str:
    """Render a template of specs/; raises RenderError when a value is missing or cannot stand in a spec."""
    return _fill(_spec_environment(), template, values)


@cache
def spec_source(name: str) -> SourceFile:
    """A file of specs/ that goes into source packages as it is."""
    path = template_folder("specs") / name
    data = path.read_bytes()
    return SourceFile(filename=name, path=path, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def fill_mock_config(template: str, text: str, **values: object) -> str:
    """Render ``text`` (the user's own template of that name) or, when it is empty, the template of mock-configs/.

    Either may include files of mock-configs/. Raises RenderError.
    """
    environment = _environment((template_folder("mock-configs"),), None)
    if text and environment.loader is not None:
        environment.loader = jinja2.ChoiceLoader([jinja2.DictLoader({template: text}), environment.loader])
    environment.filters["py"] = repr
    return _fill(environment, template, values)


def _fill(environment: jinja2.Environment, template: str, values: dict[str, object]) -> str:
    try:
        return environment.get_template(template).render(values)
    except jinja2.TemplateNotFound as exc:
        raise RenderError(f"{template}: there is no template {exc.name}") from exc
    except jinja2.TemplateError as exc:
        raise RenderError(f"{template}: {exc}", hint="a template uses a value that its renderer does not give") from exc
