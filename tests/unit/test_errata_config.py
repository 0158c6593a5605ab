"""What matrix.yaml says of advisories, lifetimes and webhooks: read as written, and each mistake told on its line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.config import load_matrix
from builder.errors import ConfigError
from builder.model.errata import NO_FACTS, AdvisoryFacts, Severity
from builder.model.lifetimes import DEFAULT_RETENTION, RetentionRules, Webhook

GOOD = Path(__file__).parent.parent / "assets/config/good"
KERNEL = "    read: kernel-core-6.1.0-56.lab9.x86_64.rpm\n"
TOP = "schema: 1\n"


def write(tmp_path: Path, old: str, new: str) -> tuple[Path, int]:
    """The good configuration with one place replaced, and that place's line."""
    path = shutil.copytree(GOOD, tmp_path / "config") / "matrix.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return path, text.count("\n", 0, text.index(old)) + 1


def test_nothing_said_is_nothing_but_the_defaults() -> None:
    matrix = load_matrix(GOOD / "matrix.yaml")
    assert (matrix.retention, matrix.webhooks, matrix.advisory_prefix) == (DEFAULT_RETENTION, (), "NVIDIA")
    assert {k.advisory for d in matrix.distributions for k in d.kernels} == {NO_FACTS}


def test_facts_are_read_as_written(tmp_path: Path) -> None:
    path, _ = write(
        tmp_path,
        KERNEL,
        KERNEL
        + '    eol: "2026-09-30"\n    advisory:\n      issued: "2025-07-24"\n      severity: Moderate\n'
        + "      cves: [CVE-2025-2, CVE-2025-11111, CVE-2025-1000]\n".replace("CVE-2025-2,", "CVE-2025-20000,")
        + "      references: [https://example.com/a]\n      text: Some\n        words.\n",
    )
    text = path.read_text().replace(
        TOP,
        TOP + "advisory_prefix: LAB\nretention: {notice_days: 7, early: refuse}\n"
        "webhooks:\n  - {url: https://example.com/hook, secret_file: keys/hook}\n",
    )
    path.write_text(text)
    matrix = load_matrix(path)
    (kernel,) = (k for d in matrix.distributions for k in d.kernels if k.release == "6.1.0-56-amd64")
    assert kernel.eol == "2026-09-30"
    assert kernel.advisory == AdvisoryFacts(
        issued="2025-07-24",
        severity=Severity.MODERATE,
        cves=("CVE-2025-1000", "CVE-2025-11111", "CVE-2025-20000"),
        references=("https://example.com/a",),
        text="Some words.",
    )
    assert matrix.advisory_prefix == "LAB"
    assert matrix.retention == RetentionRules(notice_days=7, early="refuse")
    assert matrix.webhooks == (Webhook(url="https://example.com/hook", secret_file=path.parent / "keys/hook"),)


@pytest.mark.parametrize(
    ("added", "offset", "message"),
    [
        ('    eol: "2026-02-30"\n', 1, "kernels[0].eol: '2026-02-30' is no day: day is out of range for month"),
        ("    eol: 2026-02-28\n", 1, 'kernels[0].eol: 2026-02-28 is not text to YAML: quote it ("2026-02-28")'),
        ('    eol: "June"\n', 1, 'kernels[0].eol: \'June\' is not "YYYY-MM-DD", "YYYY-MM" or "YYYY"'),
        (
            "    advisory: {severity: Bad}\n",
            1,
            "kernels[0].advisory.severity: unknown value 'Bad' (allowed: Critical, Important, Moderate, Low)",
        ),
        (
            "    advisory:\n      cves: [CVE-2025-1234]\n",
            2,
            "kernels[0].advisory: there are CVEs and no severity: say how bad the worst of them is",
        ),
        (
            "    advisory:\n      severity: Low\n      cves:\n        - CVE-2025-1234\n        - CVE-2025-1234\n",
            5,
            "kernels[0].advisory.cves: 'CVE-2025-1234' stands here a second time; first on line {4}",
        ),
        (
            "    advisory:\n      severity: Low\n      cves: [2025-1234]\n",
            3,
            "kernels[0].advisory.cves[0]: '2025-1234' is not a CVE's name, as in CVE-2025-23277",
        ),
        (
            "    advisory:\n      references: [ftp://x]\n",
            2,
            "kernels[0].advisory.references[0]: 'ftp://x' is not a URL that begins with https:// or http://",
        ),
        ('    advisory: {issued: "2025-02-30"}\n', 1, "kernels[0].advisory.issued: '2025-02-30' is no day: "),
    ],
)
def test_a_mistake_of_an_advisory_or_lifetime(tmp_path: Path, added: str, offset: int, message: str) -> None:
    path, line = write(tmp_path, KERNEL, KERNEL + added)
    with pytest.raises(ConfigError) as caught:
        load_matrix(path)
    (mistake,) = caught.value.mistakes
    assert (mistake.file, mistake.line) == (str(path), line + offset)
    assert mistake.message.startswith(message.replace("{4}", str(line + 4)))


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("retention: {notice_days: -1}\n", "retention.notice_days: '-1' is too small (at least 0)"),
        ("retention: {early: maybe}\n", "retention.early: unknown value 'maybe' (allowed: warn, refuse)"),
        ("advisory_prefix: two words\n", "advisory_prefix: 'two words' is not letters, digits and"),
        (
            "webhooks: [{url: https://x, secret_file: a, secret_env: A}]\n",
            "webhooks[0]: secret_file and secret_env: give one of them",
        ),
        ("webhooks: [{url: https://x}, {url: https://x}]\n", "webhooks: 'https://x' stands here a second time"),
        ("webhooks: [{url: https://x, secret_env: a-b}]\n", "webhooks[0].secret_env: 'a-b' is not the name of an"),
    ],
)
def test_a_mistake_of_the_rules(tmp_path: Path, added: str, message: str) -> None:
    path, line = write(tmp_path, TOP, TOP + added)
    with pytest.raises(ConfigError) as caught:
        load_matrix(path)
    (mistake,) = caught.value.mistakes
    assert mistake.line == line + 1
    assert mistake.message.startswith(message)
