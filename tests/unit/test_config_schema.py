"""docs/schema/ is generated from the pydantic models, and the production files are valid by it.

``python -m tests.unit.test_config_schema`` writes the files anew.
"""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from builder.config import json_schemas
from builder.pipeline.event_lines import event_schema
from builder.publish import manifest_schemas
from builder.report import provenance_schema
from builder.report.support_schema import support_schemas

ROOT = Path(__file__).parent.parent.parent
SCHEMAS = ROOT / "docs" / "schema"
SCHEMA_OF = {
    **json_schemas(),
    "event": event_schema(),
    **support_schemas(),
    **manifest_schemas(),
    "provenance": provenance_schema(),
}
STREAMS = sorted((ROOT / "streams").glob("*.yaml"))


def text_of(schema: dict[str, object]) -> str:
    return json.dumps(schema, indent=2) + "\n"


@pytest.mark.parametrize("name", SCHEMA_OF)
def test_the_checked_in_json_schema_is_the_one_of_the_model(name: str) -> None:
    written = (SCHEMAS / f"{name}.schema.json").read_text()
    assert written == text_of(SCHEMA_OF[name]), "run: python -m tests.unit.test_config_schema"


@pytest.mark.parametrize("name", SCHEMA_OF)
def test_each_json_schema_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA_OF[name])


def test_the_production_matrix_is_valid_by_the_json_schema() -> None:
    jsonschema.validate(yaml.safe_load((ROOT / "matrix.yaml").read_text()), json_schemas()["matrix"])


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_the_production_streams_are_valid_by_the_json_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), json_schemas()["stream"])


@pytest.mark.parametrize(
    ("key", "value"),
    [("epoch", "3"), ("schema", 2), ("kernels", {}), ("unknown", 1)],
)
def test_the_json_schema_refuses_what_the_loader_refuses(key: str, value: object) -> None:
    document = yaml.safe_load((ROOT / "matrix.yaml").read_text()) | {key: value}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, json_schemas()["matrix"])


def test_the_json_schema_describes_its_keys_in_words() -> None:
    stream = json_schemas()["stream"]
    assert "newest-complete" in stream["properties"]["branch"]["description"]


if __name__ == "__main__":
    for name, schema in SCHEMA_OF.items():
        (SCHEMAS / f"{name}.schema.json").write_text(text_of(schema))
