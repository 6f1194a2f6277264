"""`genner judge`: what was extracted, judged by one or several models."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from genner_cli.commands.options import Chat, Restart, RetryErrors, run_options
from genner_cli.commands.terminal import document_progress, fail_if_any, say
from genner_cli.methods.candidates import LABEL
from genner_cli.options import Panel
from genner_cli.running.spec import RunSpec

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="FILE", help="Outputs of `genner extract` for the same documents, one for each model."),
]
Output = Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Output .jsonl (also .gz, .zst).")]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", metavar="MODEL", help="GGUF file or reference of a model that votes; may be repeated.",
        show_default="small",
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


@run_options(
    "labels", "text_field", "id_field", "download", "examples", "shots", "nearest", "no_chat_template", Panel.SPEED,
    shown={"labels": "all of the entities"},
)  # fmt: skip
def judge(
    inputs: Inputs,
    spec: RunSpec,
    output: Output,
    model: Models = None,
    ask: Ask = None,
    roles: RolesFile = None,
    beam: Beam = 1,
    whole: Whole = False,
    chat: Chat = False,
    restart: Restart = False,
    retry_errors: RetryErrors = False,
) -> None:
    """Let models judge entities: verify, vote, relabel, resolve overlaps, choose between two answers.

    The entities of all files are candidates. Each model in turn votes on each of them, one model in memory at a time;
    the majority of all models that were asked decides. A model is asked how probably it would write the entity itself,
    in its extraction prompt, where --examples stand as in `genner extract`. One that genner did not train is asked
    questions in a chat with --chat, and for --ask label without examples. Each entity in the output has its
    `sources` and `votes`.

    With --types or --labels only entities with these labels are judged, and the others are left out; with --ask label
    all are, and get one of these labels.

    An interrupted run resumes when the same command is run again. The stages of it are in the folder FILE.stages,
    which may be removed afterwards. See docs/methods.md.

    Examples:

    - `genner judge entities.jsonl --model qwen.gguf -o verified.jsonl`
    - `genner judge a.jsonl b.jsonl c.jsonl -m a.gguf -m b.gguf -m c.gguf -o voted.jsonl`
    - `genner judge a.jsonl b.jsonl -m a.gguf -m b.gguf --roles roles.json -o voted.jsonl`
    - `genner judge without.jsonl with.jsonl --ask best --model qwen.gguf -o best.jsonl`
    - `genner judge entities.jsonl --model qwen.gguf --examples train.jsonl --types PER,ORG -o verified.jsonl`
    - `genner judge spans.jsonl --ask label --labels tree.yaml --beam 3 --model qwen.gguf -o labelled.jsonl`
    """
    from genner_cli.files.roles import read_roles
    from genner_cli.methods.ruling import Ruling
    from genner_cli.running.judges import asks_of, judge_files, voters

    spec = replace(spec, output=output, restart=restart, retry_errors=retry_errors)
    chosen = read_roles(roles) if roles else None
    asks = asks_of(ask, len(inputs), whole=whole, spec=spec)
    ruling = Ruling(
        thresholds=chosen.thresholds if chosen else {}, tree=spec.tree, beam=beam, whole=whole,
        limit=spec.labels is not None and LABEL not in asks,
    )  # fmt: skip
    asked = voters(model or [None], spec, inputs, chat=chat)
    done = judge_files(inputs, spec, asked, asks, ruling, chosen, document_progress)
    say(done.summary())
    fail_if_any(done)
