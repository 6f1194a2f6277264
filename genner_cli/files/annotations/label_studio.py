"""Label Studio's JSON: a list of tasks with `data`, `annotations` and `predictions`; JSON-MIN is read too.

    [{"data": {"text": "Ann slept."}, "annotations": [{"result": [{"from_name": "label", "to_name": "text",
      "type": "labels", "value": {"start": 0, "end": 3, "text": "Ann", "labels": ["PER"]}}]}]}]

Offsets count code points, as Label Studio has since its version 1.4 (its pull request 1559); earlier ones counted
UTF-16 units. Scores stand beside the value of a prediction's region. (labelstud.io/guide/task_format)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from genner_cli.data.offsets import Offsets
from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped
from genner_cli.files.records import Record
from genner_cli.files.streams import json_objects
from genner_cli.files.writing import write_json
from genner_cli.types import Document, Entity, FailedDocument

_JSON_MIN = "label"


class LabelStudio(AnnotationFormat):
    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each task: of its annotations, or else of its predictions; the rest of `data` is fields."""
        for source, task in json_objects(path):
            try:
                record = _record(task, source, dropped)
            except DataError as error:
                yield FailedDocument(str(error), source)
                continue
            yield options.document(record, source)

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """Tasks to import, for a project with `<Labels name="label" toName="text">` and `<Text name="text">`.

        Entities become predictions where any of the file has a score, else annotations (see `options.predictions`).
        """
        every = list(documents)
        scored = any(entity.score is not None for document in every for entity in document.entities)
        predictions = scored if options.predictions is None else options.predictions
        write_json((_task(document, predictions, options, dropped) for document in every), path)


def _record(task: Mapping[str, Any], source: str, dropped: Dropped) -> dict[str, Any]:
    data = task.get("data")
    if not isinstance(data, dict):  # JSON-MIN has the data among the keys of the task
        own = (_JSON_MIN, "annotator", "annotation_id", "created_at", "updated_at", "lead_time")
        data = {key: value for key, value in task.items() if key not in own}
        return {
            **data,
            "entities": list(_entities([{"value": item} for item in task.get(_JSON_MIN) or []], source, dropped)),
        }
    chosen = _chosen(task, source, dropped)
    known = {} if "id" in data or task.get("id") is None else {"id": task["id"]}
    result = chosen.get("result") or []
    score = chosen.get("score") if chosen in (task.get("predictions") or []) else None
    return {**known, **data, "entities": list(_entities(result, source, dropped, score))}


def _chosen(task: Mapping[str, Any], source: str, dropped: Dropped) -> Mapping[str, Any]:
    """The annotation that counts: the ground truth, else the last; without any, the prediction with the best score."""
    given = [item for item in task.get("annotations") or [] if isinstance(item, dict)]
    annotations = [item for item in given if not item.get("was_cancelled")]
    predictions = [item for item in task.get("predictions") or [] if isinstance(item, dict)]
    for kind, items in (("cancelled annotations", len(given) - len(annotations)),
                        ("further annotations of a task", len(annotations) - 1),
                        ("predictions of an annotated task", len(predictions) if annotations else 0),
                        ("further predictions of a task", 0 if annotations else len(predictions) - 1)):  # fmt: skip
        for _ in range(items):
            dropped(kind, source)
    if annotations:
        return next((item for item in annotations if item.get("ground_truth")), annotations[-1])
    return max(predictions, key=lambda item: item.get("score") or 0, default={})


def _entities(
    result: Iterable[Any], source: str, dropped: Dropped, score: float | None = None
) -> Iterator[dict[str, Any]]:
    """One for each label of each region; a region without a score has that of its prediction."""
    for region in result:
        value = region.get("value") if isinstance(region, dict) else None
        if not isinstance(value, dict) or not isinstance(value.get("labels"), list):
            kind = region.get("type") if isinstance(region, dict) else region
            dropped(f"regions of the type {kind!r}", source)
            continue
        if not isinstance(value.get("start"), int):
            raise DataError(f"{source}: {value!r} is not a range of plain text; export a project with a <Text> tag")
        copied = {key: value[key] for key in ("start", "end", "text") if key in value}
        for label in value["labels"]:
            yield {**copied, "label": label, "score": region.get("score", score)}


def _task(document: Document, predictions: bool, options: AnnotationOptions, dropped: Dropped) -> dict[str, Any]:
    data = {options.text_field: document.text, **document.fields}
    offsets = FORMAT.offsets(document.text, options)
    result = [_region(number, entity, offsets, options) for number, entity in enumerate(document.entities)]
    if not predictions:
        dropped.drop_scores(document)
        return {"data": data, "annotations": [{"result": result}]}
    scored = [{**region, **_score(entity)} for region, entity in zip(result, document.entities, strict=True)]
    return {"data": data, "predictions": [{"model_version": "genner", **_mean(document.entities), "result": scored}]}


def _region(number: int, entity: Entity, offsets: Offsets, options: AnnotationOptions) -> dict[str, Any]:
    start, end = offsets.of(entity.start), offsets.of(entity.end)
    value = {"start": start, "end": end, "text": entity.text, "labels": [entity.label]}
    return {"id": f"{number}", "from_name": "label", "to_name": "text", "type": "labels", "value": value}


def _score(entity: Entity) -> dict[str, float]:
    return {} if entity.score is None else {"score": entity.score}


def _mean(entities: Sequence[Entity]) -> dict[str, float]:
    """The score by which Label Studio sorts tasks: the mean of the entities' scores."""
    scores = [entity.score for entity in entities if entity.score is not None]
    return {"score": sum(scores) / len(scores)} if scores else {}


FORMAT = LabelStudio()
