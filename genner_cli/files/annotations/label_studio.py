"""Label Studio's JSON: a list of tasks with `data`, `annotations` and `predictions`; JSON-MIN is read too.

    [{"data": {"text": "Ann slept."}, "annotations": [{"result": [{"from_name": "label", "to_name": "text",
      "type": "labels", "value": {"start": 0, "end": 3, "text": "Ann", "labels": ["PER"]}}]}]}]

Also `completions`, as versions before 1.0 have it, and what a storage is sent: one annotation with its task inside.
Offsets count code points, as Label Studio has since its version 1.4 (its pull request 1559); earlier ones counted
UTF-16 units. Scores stand beside the value of a prediction's region. (labelstud.io/guide/task_format)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from genner_cli.data.offsets import Offsets
from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationOptions, Dropped
from genner_cli.files.annotations._objects import Json, JsonObjects, score_of
from genner_cli.types import Document, Entity

_LABELS = ("labels", "hypertextlabels", "paragraphlabels")
_JSON_MIN_OWN = ("annotator", "annotation_id", "created_at", "updated_at", "lead_time")
_BESIDE = ("comments", "drafts", "meta")
"""What may stand beside annotations, of a task or in it, that is not read."""
_ESCAPED_SPACE = re.compile(r"\\[nrt]|\s|\ufeff")


class LabelStudio(JsonObjects):
    def record(self, value: Json, source: str, options: AnnotationOptions, dropped: Dropped) -> Json:
        """Of a task: of its annotations, or else of its predictions; the rest of `data` is fields."""
        inner = value.get("task")
        task = value
        if isinstance(inner, dict) and "result" in task:  # one annotation, as a storage is sent it
            task = {**inner, "annotations": [task]}
        data = task.get("data")
        if not isinstance(data, dict):
            return _minimal(task, source, options, dropped)
        chosen = _chosen(task, source, dropped)
        for name in _BESIDE:
            for _ in filter(None, [task.get(name), chosen.get(name)]):
                dropped(name, source)
        if task.get("comment_count") and not task.get("comments"):
            dropped("comments", source)
        known = {} if "id" in data or task.get("id") is None else {"id": task["id"]}
        score = chosen.get("score") if chosen in (task.get("predictions") or []) else None
        entities = _entities(chosen.get("result") or [], _Place(source, data, options), dropped, score)
        return {**known, **data, "entities": list(entities)}

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """Tasks to import, for a project with `<Labels name="label" toName="text">` and `<Text name="text">`.

        Entities become predictions where any of the file has a score, else annotations (see `options.predictions`).
        """
        every = list(documents)
        scored = any(entity.score is not None for document in every for entity in document.entities)
        predictions = scored if options.predictions is None else options.predictions
        super().write(every, path, replace(options, predictions=predictions), dropped)

    def value(self, document: Document, options: AnnotationOptions, dropped: Dropped) -> Json:
        """A task with one annotation or one prediction."""
        data = {options.text_field: document.text, **document.fields}
        offsets = self.offsets(document.text, options)
        result = [_region(number, entity, offsets) for number, entity in enumerate(document.entities)]
        if not options.predictions:
            dropped.drop_scores(document)
            return {"data": data, "annotations": [{"result": result}]}
        scored = [{**region, **score_of(entity)} for region, entity in zip(result, document.entities, strict=True)]
        prediction = {"model_version": "genner", **_mean(document.entities), "result": scored}
        return {"data": data, "predictions": [prediction]}


def _minimal(task: Mapping[str, Any], source: str, options: AnnotationOptions, dropped: Dropped) -> Json:
    """JSON-MIN has data and values of regions among the keys of the task, the latter by the name of their control."""
    data = {
        key: value for key, value in task.items() if key not in (*_JSON_MIN_OWN, "label") and not _is_regions(value)
    }
    controls = [value for key, value in task.items() if _is_regions(value) or (key == "label" and value)]
    regions = [{"value": item} for value in controls for item in (value if isinstance(value, list) else [value])]
    return {**data, "entities": list(_entities(regions, _Place(source, data, options), dropped))}


def _is_regions(value: Any) -> bool:
    items = value if isinstance(value, list) else []
    return bool(items) and all(isinstance(item, dict) and any(name in item for name in _LABELS) for item in items)


def _chosen(task: Mapping[str, Any], source: str, dropped: Dropped) -> Mapping[str, Any]:
    """The annotation that counts: the ground truth, else the last; without any, the prediction with the best score."""
    given = [item for item in task.get("annotations") or task.get("completions") or [] if isinstance(item, dict)]
    annotations = [item for item in given if not (item.get("was_cancelled") or item.get("skipped"))]
    predictions = [item for item in task.get("predictions") or [] if isinstance(item, dict)]
    for kind, items in (("cancelled annotations", len(given) - len(annotations)),
                        ("further annotations of a task", len(annotations) - 1),
                        ("predictions of an annotated task", len(predictions) if annotations else 0),
                        ("further predictions of a task", 0 if annotations else len(predictions) - 1)):  # fmt: skip
        for _ in range(items):
            dropped(kind, source)
    if annotations:
        true = (item for item in annotations if item.get("ground_truth") or item.get("honeypot"))
        return next(true, annotations[-1])
    return max(predictions, key=lambda item: item.get("score") or 0, default={})


class _Place(NamedTuple):
    """Where regions stand: the place of their task in messages, its data, and the options."""

    source: str
    data: Mapping[str, Any]
    options: AnnotationOptions

    def stands(self, start: int, end: int, mention: Any) -> bool:
        """Whether the mention stands between these offsets, but for white space and escaped line ends."""
        text = self.data.get(self.options.text_field)
        if not isinstance(text, str) or not isinstance(mention, str):
            return False
        offsets = FORMAT.offsets(text, self.options)
        try:
            there = text[offsets.place(start) : offsets.place(end)]
        except DataError:
            return False
        return _ESCAPED_SPACE.sub("", there) == _ESCAPED_SPACE.sub("", mention) != ""


def _entities(result: Iterable[Any], place: _Place, dropped: Dropped, score: float | None = None) -> Iterator[Json]:
    """One for each label of each region; a region without a score has that of its prediction."""
    for region in result:
        value = region.get("value") if isinstance(region, dict) else None
        labels = next((value[name] for name in _LABELS if name in value), None) if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(labels, list):
            kind = region.get("type") if isinstance(region, dict) else region
            dropped(f"regions of the type {kind!r}", place.source)
            continue
        copied = _range(value, place)
        if not labels:
            dropped("regions without a label", f"{place.source} at {copied['start']}:{copied.get('end')}")
        if region.get("meta"):
            dropped("meta of regions", place.source)
        for label in labels:
            yield {**copied, "label": label, "score": region.get("score", score)}


def _range(value: Mapping[str, Any], place: _Place) -> Json:
    """The start, end and mention of a region; without the mention where that differs in white space only.

    Raises DataError for what is not a range of plain text.
    """
    given = value.get("globalOffsets") if not isinstance(value.get("start"), int) else None
    offsets = {**value, **given} if isinstance(given, dict) else value
    start, end, mention = offsets.get("start"), offsets.get("end"), value.get("text")
    if not isinstance(start, int) or (given and not place.stands(start, offsets.get("end", start), mention)):
        raise DataError(f"{place.source}: {value!r} is not a range of plain text; export a project with a <Text> tag")
    same = isinstance(end, int) and place.stands(start, end, mention)
    found = {"start": start, "end": end, "text": None if same else mention}
    return {key: item for key, item in found.items() if item is not None}


def _region(number: int, entity: Entity, offsets: Offsets) -> Json:
    start, end = offsets.of(entity.start), offsets.of(entity.end)
    value = {"start": start, "end": end, "text": entity.text, "labels": [entity.label]}
    return {"id": f"{number}", "from_name": "label", "to_name": "text", "type": "labels", "value": value}


def _mean(entities: Sequence[Entity]) -> dict[str, float]:
    """The score by which Label Studio sorts tasks: the mean of the entities' scores."""
    scores = [entity.score for entity in entities if entity.score is not None]
    return {"score": sum(scores) / len(scores)} if scores else {}


FORMAT = LabelStudio()
