"""`genner synth`: synthetic training data, written and annotated by models on this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from genner_cli.commands.options import Seed, run_options
from genner_cli.commands.terminal import document_progress, say
from genner_cli.options import Panel
from genner_cli.running.spec import RunSpec

LabelsArgument = Annotated[
    Path, typer.Argument(metavar="LABELS", help="YAML file of labels: a list of names, or names with definitions.")
]
Count = Annotated[int, typer.Option("-n", min=1, max=1_000_000, help="Sentences to make.")]
About = Annotated[
    str, typer.Option(metavar="TEXT", help="What the sentences are about.", show_default="that of the plan")
]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        "--plan", metavar="FILE", help="Plan to follow; if it is not there, it is written for you to edit, and nothing"
        " else is done.", show_default="DIR/plan.yaml, made at once",
    ),
]  # fmt: skip
Examples = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Labelled documents, of which four are shown to the model.", show_default="none"),
]  # fmt: skip
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for train.jsonl and all stages.")]
Model = Annotated[
    str,
    typer.Option(
        "--model", "-m", metavar="MODEL", envvar="GENNER_MODEL",
        help="Model that writes and checks: a GGUF file or reference of one that follows instructions.",
    ),
]  # fmt: skip
Annotator = Annotated[
    str | None,
    typer.Option("--annotate-with", metavar="MODEL", help="Model that annotates.", show_default="that of --model"),
]
NotIn = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE", help="Data with which no sentence may share eight consecutive words; may be repeated."
    ),
]
Correct = Annotated[float, typer.Option(min=0, max=1, help="Share of annotations, the least certain, to check.")]
Temperature = Annotated[float, typer.Option(min=0, max=10, help="Temperature of sampling.")]


@run_options("download", "restart", "no_chat_template", Panel.SPEED)
def synth(
    labels: LabelsArgument,
    output: Output,
    model: Model,
    spec: RunSpec,
    count: Count = 1500,
    about: About = "",
    plan: PlanFile = None,
    examples: Examples = None,
    annotate_with: Annotator = None,
    not_in: NotIn = None,
    correct: Correct = 0.2,
    seed: Seed = 0,
    temperature: Temperature = 1.0,
) -> None:
    """Write synthetic training data with a general model: sentences, annotated and corrected.

    The model lists attributes of sentences and names for each label (the plan, a YAML file), and writes each sentence
    from a combination of them. Sentences are annotated by extraction, and the least certain annotations are checked by
    the model. What is repeated, empty or shared with --not-in is asked for again, and reported. The same seed gives the
    same files. An interrupted run resumes when the same command is run again. See docs/methods/synthesis.md.

    Examples:

    - `genner synth labels.yaml -n 1500 --about "restaurant reviews" --model qwen.gguf -o synthetic`
    - `genner synth labels.yaml --about "local news" --plan plan.yaml --model qwen.gguf -o synthetic`
    - `genner synth labels.yaml --plan plan.yaml --examples few.jsonl --not-in test.jsonl -m qwen.gguf -o synthetic`
    - `genner synth labels.yaml --about mails --model qwen.gguf --annotate-with base -o synthetic`
    """
    from genner_cli.files.labels import read_label_tree
    from genner_cli.running.synthesis import begin, plan_of, synthesize
    from genner_cli.running.synthesis_job import prepared

    spec = replace(spec, model=model, tree=read_label_tree(str(labels)))
    job = replace(
        prepared(replace(spec, restart=False), annotate_with, examples, not_in or []),
        about=" ".join(about.split()), count=count, folder=output, plan=plan or output / "plan.yaml",
        corrected=correct, seed=seed, temperature=temperature,
    )  # fmt: skip
    begin(job, restart=spec.restart)
    if plan and not plan.exists():
        plan_of(job, document_progress)
        say(f"{plan}: written; edit it, and run the same command again")
        return
    made = synthesize(job, document_progress)
    say(f"{made.summary()}\n{output / 'train.jsonl'}: ready for genner train")
