"""What was checked and what came out of it: values for a JSON file, and lines for people.

Knows nothing of how anything is checked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genner_cli.files.whole import write_whole
from genner_cli.plurals import size_text


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was measured, and where it failed if it did. `subject`: what was checked, such as a type."""

    check: str
    subject: str
    passed: bool
    measured: dict[str, Any]
    message: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings on the files of one export; `files`: final path by type, of those that passed; `checked`: whether
    anything was checked at all."""

    about: dict[str, Any]
    findings: tuple[Finding, ...]
    files: dict[str, str]
    checked: bool

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The findings of checks that failed."""
        return tuple(finding for finding in self.findings if not finding.passed)

    def value(self) -> dict[str, Any]:
        """The report as a JSON value."""
        return {
            **self.about,
            "passed": self.passed,
            "checked": self.checked,
            "files": self.files,
            "findings": [_finite(asdict(finding)) for finding in self.findings],
        }

    def write(self, path: Path) -> Path:
        """Writes the JSON file, whole or not at all."""
        write_whole(path, json.dumps(self.value(), ensure_ascii=False, indent=2) + "\n")
        return path


def _finite(value: Any) -> Any:
    """The value without numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def lines_of(report: Report) -> Iterator[str]:
    """The report for people to read."""
    for finding in report.findings:
        mark = "ok" if finding.passed else "FAILED"
        yield f"{finding.subject:<8} {finding.check:<14} {mark:<7} {_measured(finding)}".rstrip()
    if not report.checked:
        yield "nothing was checked (--no-verify)"
    for type, path in report.files.items():
        yield f"{type:<8} {size_text(Path(path).stat().st_size):<10} {path}"


def _measured(finding: Finding) -> str:
    texts = _OF_THE_MODEL if finding.subject == "model" else _OF_A_TYPE
    return texts[finding.check].format(**finding.measured) if finding.passed else ""


_OF_THE_MODEL = {
    "prompt tokens": "identical: {tokens:,} tokens in {texts} texts",
    "logits": "maximum difference {largest_difference:.2g} ({limit:g} allowed), same top token {top_1_agreement:.2%}",
}
_OF_A_TYPE = {
    "tensors": "maximum error {error:.2g} in {tensor} ({limit:.2g} allowed)",
    "logits": "noise {noise:.2g} ({limit:g} allowed)",
    "entities": "agreement {agreement:.3f} (entities: {entities}), F1 {f1_unquantized:.3f} -> {f1:.3f}",
}
