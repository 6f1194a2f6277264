"""`genner data preferences`: gold and predictions in, pairs of a better and a worse answer out."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from genner_cli.commands.options import LABELLED, IdField, JsonLinesOutput, TextField
from genner_cli.commands.terminal import say, warn
from genner_cli.plurals import counted

GoldFile = Annotated[str, typer.Argument(metavar="GOLD", help=f"{LABELLED}.", show_default=False)]
Predictions = Annotated[
    list[str],
    typer.Argument(metavar="PREDICTIONS", help="Output of genner extract for the same documents.", show_default=False),
]


def preferences(
    gold: GoldFile,
    predictions: Predictions,
    output: JsonLinesOutput = "-",
    text_field: TextField = "text",
    id_field: IdField = "id",
) -> None:
    """Pair better with worse answers, to train on with genner train.

    For each document of which two predictions have different strict F1, a record with `text`, `chosen` (the best one's
    entities) and `rejected` (the worst one's). A single file of predictions is compared with gold itself.

    Examples:

    - `genner data preferences gold.jsonl without.jsonl with.jsonl -o prefs.jsonl`
    - `genner train prefs.jsonl --base tuned.gguf --loss locked --learning-rate 5e-5 -o adapter/`
    """
    from genner_cli.files.gold import read_gold_files
    from genner_cli.files.predictions import read_predictions
    from genner_cli.files.preferences import preference_line
    from genner_cli.files.reading import expand
    from genner_cli.files.writing import Writer
    from genner_cli.pairing import in_order
    from genner_cli.scoring.preferences import preference

    documents = read_gold_files([gold], text_field=text_field, id_field=id_field)
    paths = expand(predictions)
    read = partial(read_predictions, text_field=text_field, id_field=id_field)
    answers = [in_order(documents, read([path])) for path in paths]
    pairs = failed = 0
    with Writer(output, inputs=[gold, *paths]) as writer:
        for document, found in zip(documents, zip(*answers, strict=True), strict=True):
            if any(each.error is not None for each in found):
                failed += 1
            elif pair := preference(document.entities, [each.entities for each in found]):
                writer.write(preference_line(document, text_field, *pair))
                pairs += 1
    left_out = f"; {counted(failed, 'document')} left out, in which a prediction failed" if failed else ""
    say(f"{counted(pairs, 'pair')} of {counted(len(documents), 'document')}{left_out}")
    if not pairs:
        warn(f"{output}: all answers are equally good; give those of another model")
