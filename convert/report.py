"""What was checked and what came out of it: values for a JSON file, and lines for people.

Knows nothing of how anything is checked.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genner_cli.files.whole import write_whole


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
