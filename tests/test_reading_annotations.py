"""Parquet, CoNLL and brat as input of extraction and training (`read_documents`, `read_gold`)."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from labelled import ANNOTATIONS_DATA, RECIPES

from genner_cli.errors import UsageError
from genner_cli.files.annotations import AnnotationOptions
from genner_cli.files.converting import convert
from genner_cli.files.gold import read_gold
from genner_cli.files.reading import expand, read_documents, total_bytes
from genner_cli.types import Document, FailedDocument


def test_parquet_rows_are_documents_with_their_fields_but_no_entities(tmp_path: Path) -> None:
    path = str(tmp_path / "a.parquet")
    convert((str(RECIPES), "jsonl"), (path, "parquet"), AnnotationOptions())
    expected = list(read_documents([str(RECIPES)]))
    found = list(read_documents(expand([path])))
    assert [(d.id, d.fields) for d in found] == [(d.id, d.fields) for d in expected]
    assert [d.text for d in found if isinstance(d, Document)] == [d.text for d in expected if isinstance(d, Document)]
    assert found[6].source == f"{path}:7"
    assert read_gold([path]).documents[6].entities == read_gold([str(RECIPES)]).documents[6].entities


def test_conll_sentences_are_documents_that_remember_their_tokens() -> None:
    path = str(ANNOTATIONS_DATA / "conll2003.conll")
    found = list(read_documents(expand([path])))
    assert all(isinstance(document, Document) for document in found)
    assert [set(document.fields) for document in found] == [{"tokens", "document"}] * 3
    assert [len(document.entities) for document in read_gold([path]).documents] == [4, 1, 2]


def test_brat_texts_are_found_by_their_annotations(caplog: pytest.LogCaptureFixture) -> None:
    paths = expand([str(ANNOTATIONS_DATA / "brat" / "**" / "*.ann")])
    assert [document.id for document in read_documents(paths)] == ["doc-1", "doc-2"]
    assert not caplog.records
    with caplog.at_level(logging.WARNING, "genner"):
        gold = read_gold(paths)
    assert [len(document.entities) for document in gold.documents] == [4, 0]
    assert any("discontinuous entities: 1" in record.getMessage() for record in caplog.records)


def test_a_text_beyond_the_limit_and_a_missing_text_are_failures(tmp_path: Path) -> None:
    (tmp_path / "a.ann").write_text("")
    (failed,) = read_documents([str(tmp_path / "a.ann")])
    assert isinstance(failed, FailedDocument)
    assert "a.txt: cannot be read" in failed.message
    (tmp_path / "a.txt").write_text("x" * 11)
    (failed,) = read_documents([str(tmp_path / "a.ann")], max_document_bytes=10)
    assert "11 bytes, at most 10 bytes" in failed.message  # type: ignore[union-attr]


def test_progress_adds_up_to_the_size(tmp_path: Path) -> None:
    paths = [str(ANNOTATIONS_DATA / "conll2003.conll"), str(ANNOTATIONS_DATA / "brat" / "doc-1.ann")]
    done: list[int] = []
    list(read_documents(paths, progress=done.append))
    assert sum(done) == total_bytes(paths)


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "a.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'genner\[parquet\]'"):
        list(read_documents([str(tmp_path / "a.parquet")]))
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(UsageError, match=r"pip install 'genner\[spacy\]'"):
        convert((str(RECIPES), "jsonl"), (str(tmp_path / "a.spacy"), "docbin"), AnnotationOptions())
