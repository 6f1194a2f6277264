"""`genner data check`: what spoils labelled data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genner_cli.commands.data.input import Inputs, read_each
from genner_cli.commands.options import AsJson, TextField
from genner_cli.commands.terminal import print_value, status_line

if TYPE_CHECKING:
    from genner_cli.data.checking import Finding
    from genner_cli.files.gold import GoldData


class Check(StrEnum):
    """The checks."""

    PROBLEMS = "problems"
    DUPLICATES = "duplicates"
    LEAKS = "leaks"
    ANNOTATIONS = "annotations"
    LABELS = "labels"


_TITLES = {
    Check.PROBLEMS: "invalid entities and records",
    Check.DUPLICATES: "texts that occur more than once in a file",
    Check.LEAKS: "pairs of files that share texts or runs of eight words",
    Check.ANNOTATIONS: "identical texts with different entities",
    Check.LABELS: "mentions with inconsistent labels",
}

Skip = Annotated[list[Check] | None, typer.Option(help="Check to skip; repeat it for more.")]
Examples = Annotated[int, typer.Option(min=0, help="Maximum number of findings per check, and of places per finding.")]


def check(
    files: Inputs, skip: Skip = None, examples: Examples = 5, as_json: AsJson = False, text_field: TextField = "text"
) -> None:
    """Look for wrong offsets, duplicates, leaks between files, and inconsistent annotations.

    The exit status is 1 if anything is found. Real annotation rarely labels a mention the same way everywhere:
    `--skip labels` skips that check.

    Examples:

    - `genner data check train.jsonl valid.jsonl test.jsonl`
    - `genner data check all.jsonl --skip labels --json`
    """
    data = read_each(files, text_field)
    findings_by_check: dict[Check, list[Finding]] = {}
    with status_line("checking") as say:
        for name, look in _checks().items():
            if name not in (skip or ()):
                say(f"looking for {_TITLES[name]}")
                findings_by_check[name] = list(look(data))
    value = {str(name): _value(findings) for name, findings in findings_by_check.items()}
    print_value(value, _lines(findings_by_check, examples), as_json=as_json)
    if any(findings_by_check.values()):
        raise typer.Exit(1)


def _checks() -> dict[Check, Callable[[Mapping[str, GoldData]], Iterator[Finding]]]:
    from genner_cli.data import checking
    from genner_cli.data.checking import Finding
    from genner_cli.files.gold import by_kind

    def problems(data: Mapping[str, GoldData]) -> Iterator[Finding]:
        for alike in by_kind(problem for gold in data.values() for problem in gold.problems):
            yield Finding(alike[0].message, len(alike), tuple(problem.source for problem in alike))

    def of_documents(look: Callable[[checking.Files], Iterator[Finding]]) -> Any:
        return lambda data: look({path: gold.documents for path, gold in data.items()})

    return {
        Check.PROBLEMS: problems,
        Check.DUPLICATES: of_documents(checking.duplicates),
        Check.LEAKS: of_documents(checking.leaks),
        Check.ANNOTATIONS: of_documents(checking.different_annotations),
        Check.LABELS: of_documents(checking.label_contradictions),
    }


def _value(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [{"what": finding.what, "count": finding.count, "places": list(finding.places)} for finding in findings]


def _lines(findings_by_check: Mapping[Check, Sequence[Finding]], examples: int) -> Iterator[str]:
    for name, findings in findings_by_check.items():
        count = sum(finding.count for finding in findings) if name is Check.PROBLEMS else len(findings)
        yield f"{name} ({_TITLES[name]}): {count:,}"
        for finding in findings[:examples]:
            yield f"  {finding.what}"
            if (name is not Check.PROBLEMS or finding.count > 1) and examples:
                more = ", ..." if len(finding.places) > examples else ""
                yield f"    {', '.join(finding.places[:examples])}{more}"
        if len(findings) > examples:
            yield f"  ... and {len(findings) - examples:,} more (--examples, --json)"
