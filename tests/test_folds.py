"""`genner data folds`: predictions by models that have not seen the documents, interrupted and resumed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Run
from resuming import manifest, records
from small_bases import RECORDS, write_jsonl, write_small_base

from genner_cli.errors import UsageError
from genner_cli.files.hints import FOLDS, check_hints
from genner_cli.generation import EngineOptions
from genner_cli.probing import folds
from genner_cli.training.gold import Files, Gold
from genner_cli.training.options import TrainOptions
from genner_cli.types import Document, Extraction

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_base(tmp_path_factory.mktemp("base"))


def test_each_document_is_predicted_by_a_model_that_has_not_seen_it(
    genner: Callable[..., Run], base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, options = write_jsonl(tmp_path / "train.jsonl"), tmp_path / "options.yaml"
    options.write_text("epochs: 1\nrank: 4\n")
    trained: list[tuple[str, ...]] = []
    real = folds.train

    def noting(job: folds.Job, progress: folds.TrainingProgress) -> object:
        if len(trained) == 1:
            trained.append(())
            raise UsageError("interrupted here")
        trained.append(tuple(document.text for document in job.gold.train))
        return real(job, progress)

    monkeypatch.setattr(folds, "train", noting)
    command = ("data", "folds", data, "--base", base, "--preset", "tiny", "--options", options, "--folds", 2)
    out = tmp_path / "hints.jsonl"
    assert genner(*command, "--threads", 1, "-o", out).status == 2
    assert not out.exists()
    other = genner(*command[:-1], 3, "--threads", 1, "-o", out)
    assert other.status == 2
    assert "holds other folds" in other.stderr
    run = genner(*command, "--threads", 1, "-o", out)
    assert run.status == 0, run.stderr
    first, _, second = trained
    texts = [each["text"] for each in RECORDS]
    assert sorted(first + second) == sorted(texts)
    assert [each["text"] for each in records(out)] == texts
    assert all(isinstance(each["entities"], list) for each in records(out))
    assert manifest(out)["model"][FOLDS] == 2
    assert not Path(f"{out}.folds").exists()
    check_hints(str(out), [str(data)], "--example-hints")

    trained.append(())
    again = tmp_path / "again.jsonl"
    assert genner(*command, "--threads", 1, "-o", again).status == 0
    assert again.read_bytes() == out.read_bytes()
    assert genner(*command, "--threads", 1, "-o", out).status == 2


def test_a_document_whose_extraction_failed_is_no_document_without_entities(tmp_path: Path) -> None:
    data, out = write_jsonl(tmp_path / "train.jsonl"), tmp_path / "hints.jsonl"
    gold = Gold(Files((str(data),)), tuple(Document(each["text"]) for each in RECORDS), (), ())
    asked = folds.Folds(tmp_path, "base", gold, out, TrainOptions(), EngineOptions(), 2)
    results = [[Extraction(gold.train[at]) for at in side] for side in asked.sides]
    results[0][0] = Extraction(gold.train[asked.sides[0][0]], error="it is too long")
    assert folds._write(asked, results, None) == 0
    failed = [at for at, each in enumerate(records(out)) if "error" in each]
    assert failed == [asked.sides[0][0]]
