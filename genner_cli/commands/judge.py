"""`genner judge`: what was extracted, judged by one or several models."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.options import Restart, RetryErrors, label_tree, run_options
from genner_cli.commands.redact import fail_if_any
from genner_cli.commands.terminal import document_progress, talk_on_stderr
from genner_cli.errors import UsageError
from genner_cli.methods.candidates import ASKS, BEST, LABEL, OVERLAP, VALID
from genner_cli.options import Panel
from genner_cli.running.spec import SHOTS, STDIO, RunSpec

if TYPE_CHECKING:
    from genner_cli.files.roles import Roles
    from genner_cli.methods.ruling import Ruling
    from genner_cli.running.judging import Stage, Voter

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="FILE...", help="Outputs of `genner extract` for the same documents, one for each model."),
]
Output = Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Output .jsonl (also .gz, .zst).")]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="GGUF file or reference of a model that votes; may be repeated.",
        show_default="the bundled model",
    ),
]  # fmt: skip
Ask = Annotated[
    str | None,
    typer.Option(
        metavar="valid,label,boundary,overlap|best",
        help="What the models are asked, in this order: whether an entity is right, which label it has, where it begins"
        " and ends, which of overlapping ones are right; or where two files differ, which of them is.",
        show_default="valid, and overlap for several files",
    ),
]  # fmt: skip
RolesFile = Annotated[
    str | None,
    typer.Option(
        "--roles", metavar="FILE", help="Which files and models take part in what, as `genner calibrate` chose.",
        show_default="all in all",
    ),
]  # fmt: skip
Beam = Annotated[int, typer.Option(min=1, max=64, help="Paths down a tree of labels that --ask label follows.")]
Whole = Annotated[bool, typer.Option("--whole", help="With --ask best: choose between whole answers of a document.")]


Examples = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Labelled file: a model that is asked in a chat whether an entity is right is shown such"
        " questions about it, with the answers.", show_default="none",
    ),
]  # fmt: skip
Shots = Annotated[
    int | None,
    typer.Option(
        min=1, max=64, help="Answered questions to show, as far as they fit into a quarter of the context.",
        show_default=str(SHOTS),
    ),
]  # fmt: skip


@run_options(
    "labels", "text_field", "id_field", "download", "no_chat_template", Panel.SPEED,
    shown={"labels": "all of the entities"},
)  # fmt: skip
def judge(
    call: typer.Context,
    inputs: Inputs,
    spec: RunSpec,
    output: Output,
    model: Models = None,
    ask: Ask = None,
    roles: RolesFile = None,
    beam: Beam = 1,
    whole: Whole = False,
    examples: Examples = None,
    shots: Shots = None,
    restart: Restart = False,
    retry_errors: RetryErrors = False,
) -> None:
    """Let models judge entities: verify, vote, relabel, resolve overlaps, choose between two answers.

    The entities of all files are candidates. Each model in turn votes on each of them, one model in memory at a time;
    the majority of all models that were asked decides. A model that genner trained is asked how probably it would
    write the entity itself, another one in a chat. Each entity in the output has its `sources` and `votes`.

    With --types or --labels only entities with these labels are judged, and the others are left out; with --ask label
    all are, and get one of these labels.

    An interrupted run resumes when the same command is run again. The stages of it are in the folder FILE.stages,
    which may be removed afterwards. See docs/methods.md.

    Examples:

    - `genner judge entities.jsonl --model qwen.gguf -o verified.jsonl`
    - `genner judge a.jsonl b.jsonl c.jsonl -m a.gguf -m b.gguf -m c.gguf -o voted.jsonl`
    - `genner judge a.jsonl b.jsonl -m a.gguf -m b.gguf --roles roles.json -o voted.jsonl`
    - `genner judge without.jsonl with.jsonl --ask best --model qwen.gguf -o best.jsonl`
    - `genner judge entities.jsonl --model qwen.gguf --examples train.jsonl --shots 8 -o verified.jsonl`
    - `genner judge spans.jsonl --ask label --labels tree.yaml --beam 3 --model qwen.gguf -o labelled.jsonl`
    """
    from genner_cli.files.roles import read_roles
    from genner_cli.methods.ruling import Ruling
    from genner_cli.running.judges import voters

    talk_on_stderr()
    spec = replace(spec, output=output, restart=restart, retry_errors=retry_errors, examples=examples, shots=shots)
    chosen = read_roles(roles) if roles else None
    asks = _asks(ask, len(inputs))
    if LABEL in asks and not spec.labels:
        raise UsageError("--ask label chooses among labels; name them with --types or --labels")
    if whole and BEST not in asks:
        raise UsageError("--whole chooses between whole answers; add --ask best")
    if examples and VALID not in asks:
        raise UsageError("--examples are shown where it is asked whether an entity is right; add valid to --ask")
    ruling = Ruling(
        thresholds=chosen.thresholds if chosen else {},
        tree=label_tree(call.params["types"], call.params["labels"]),
        beam=beam,
        whole=whole,
        limit=spec.labels is not None and LABEL not in asks,
    )
    run_judge(inputs, spec, voters(model or [None], spec), asks, ruling, chosen)


def run_judge(
    inputs: Sequence[str],
    spec: RunSpec,
    asked: Sequence[Voter],
    asks: Sequence[str],
    ruling: Ruling,
    roles: Roles | None = None,
) -> None:
    """Judges, and reports on stderr. Raises UsageError, and typer.Exit(1) where records failed."""
    from genner_cli.files.reading import expand
    from genner_cli.running.judging import judge as run
    from genner_cli.running.judging import source_names
    from genner_cli.running.rewriting import Files

    if spec.output == STDIO:
        raise UsageError("the stages of a judgement are files beside its output; name one with -o FILE")
    paths = expand(list(inputs))
    sources = source_names(paths)
    if roles:
        paths, sources = roles.files_of(paths, sources)
    if BEST in asks and len(paths) != 2:
        raise UsageError(f"--ask best chooses between two files, not {len(paths)}; name the two, and no others")
    unasked = roles is not None and not roles.deciders
    if unasked and OVERLAP in asks and VALID not in asks:
        raise UsageError("--roles: no model decides on overlaps; ask valid too, which resolves them then")
    ruling = replace(ruling, sources=tuple(sources), flat=unasked and OVERLAP in asks)
    plan = planned([ask for ask in asks if not (unasked and ask == OVERLAP)], asked, roles)
    files = Files(
        inputs=tuple(paths), output=spec.output, text_field=spec.text_field, id_field=spec.id_field,
        restart=spec.restart, retry_errors=spec.retry_errors,
    )  # fmt: skip
    done = run(files, sources, plan, ruling, document_progress)
    sys.stderr.write(f"{done.summary()}\n")
    fail_if_any(done)


def planned(asks: Sequence[str], asked: Sequence[Voter], roles: Roles | None) -> list[Stage]:
    """The stages: each model for each question, or those with the role. Raises UsageError for roles of others."""
    from genner_cli.running.judging import stages

    if not roles:
        return stages(asks, dict.fromkeys(asks, asked))
    by_ask: Mapping[str, Sequence[Voter]] = {
        ask: roles.models_of(ask, {voter.name: voter for voter in asked}) for ask in asks
    }
    return stages(asks, by_ask)


def _asks(given: str | None, files: int) -> tuple[str, ...]:
    """What is asked, in order. Raises UsageError."""
    if given is None:
        return (VALID, OVERLAP) if files > 1 else (VALID,)
    asks = tuple(each.strip() for each in given.split(","))
    for each in asks:
        if each not in ASKS:
            raise UsageError(f"--ask {given}: {each!r} is not one of {', '.join(ASKS)}")
    if len(set(asks)) < len(asks) or (BEST in asks and len(asks) > 1):
        raise UsageError(f"--ask {given}: ask each once, and best alone")
    return asks
