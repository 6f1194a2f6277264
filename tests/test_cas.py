"""UIMA CAS files as INCEpTION exports them, read and written with the real cassis."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cassis
import pytest
from conftest import Run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from resuming import records, write_documents

from genner_cli.files.annotations import ANNOTATION_FORMATS, AnnotationOptions, Dropped
from genner_cli.types import Document, Entity

pytestmark = pytest.mark.filterwarnings("ignore:open_binary is deprecated:DeprecationWarning")
Genner = Callable[..., Run]
TEXT = "Zoë 👩‍🚀 met Ada Lovelace\r\nin <Oslo> & Rome."
CUSTOM = "webanno.custom.Animal"
FORMAT = ANNOTATION_FORMATS["cas"]


def exported(text: str = TEXT, *, title: str | None = "letter 7.txt") -> cassis.Cas:
    """What INCEpTION writes: its layers, tokens and sentences, a layer of one's own, relations aside."""
    types = cassis.load_dkpro_core_typesystem()
    animal = types.create_type(CUSTOM)
    types.create_feature(animal, "kind", "uima.cas.String")
    cas = cassis.Cas(typesystem=types)
    cas.sofa_string, cas.sofa_mime = text, "text/plain"

    def add(name: str, mention: str, **features: Any) -> None:
        at = text.index(mention)
        cas.add(types.get_type(name)(begin=at, end=at + len(mention), **features))

    entity = "de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity"
    if title:
        name = "de.tudarmstadt.ukp.dkpro.core.api.metadata.type.DocumentMetaData"
        metadata = types.create_type(name, supertypeName="uima.tcas.DocumentAnnotation")
        types.create_feature(metadata, "documentTitle", "uima.cas.String")
        types.create_feature(metadata, "documentId", "uima.cas.String")
        cas.add(metadata(begin=0, end=len(text), documentTitle=title))
    add("de.tudarmstadt.ukp.dkpro.core.api.segmentation.type.Sentence", text)
    for word in ("Zoë", "met", "Oslo"):
        add("de.tudarmstadt.ukp.dkpro.core.api.segmentation.type.Token", word)
    add(entity, "Ada Lovelace", value="PER", identifier="http://kb/7")
    add(entity, "Ada", value="GIVEN")
    add(entity, "Oslo", value="LOC")
    add(entity, "Rome")
    add(CUSTOM, "Zoë", kind="cat")
    return cas


ENTITIES = [("Zoë", "cat"), ("Ada Lovelace", "PER"), ("Ada", "GIVEN"), ("Oslo", "LOC")]


def found(record: dict[str, Any]) -> list[tuple[str, str]]:
    return [(record["text"][each["start"] : each["end"]], each["label"]) for each in record["entities"]]


def zipped(**files: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize("shape", ["xmi", "zip", "json", "zip of json"])
def test_what_inception_exports_is_read_with_offsets_in_code_points(genner: Genner, tmp_path: Path, shape: str) -> None:
    cas = exported()
    name = {"xmi": "letter.xmi", "json": "letter.json"}.get(shape, "letter.zip")
    if shape == "xmi":
        (tmp_path / "TypeSystem.xml").write_text(cas.typesystem.to_xml())
    data = {
        "xmi": lambda: cas.to_xmi().encode(),
        "json": lambda: cas.to_json().encode(),
        "zip": lambda: zipped(**{"letter.xmi": cas.to_xmi(), "TypeSystem.xml": cas.typesystem.to_xml()}),
        "zip of json": lambda: zipped(**{"letter.json": cas.to_json()}),
    }
    (tmp_path / name).write_bytes(data[shape]())
    run = genner("data", "convert", tmp_path / name, tmp_path / "out.jsonl", "--from", "cas")
    assert run.status == 0, run.stderr
    (record,) = records(tmp_path / "out.jsonl")
    assert (record["id"], record["text"], found(record)) == ("letter 7.txt", TEXT, ENTITIES)
    assert [TEXT[slice(*token)] for token in record["tokens"]] == ["Zoë", "met", "Oslo"]
    for what in ("knowledge base ids: 1", "spans without a label: 1", "type Sentence: 1"):
        assert what in run.stderr
    assert genner("data", "convert", tmp_path / name, "-", "--from", "cas", "--to", "jsonl", "--strict").status == 1


def test_without_its_type_system_the_layers_of_dkpro_are_read_and_others_reported(
    genner: Genner, tmp_path: Path
) -> None:
    (tmp_path / "a.xmi").write_text(exported(title=None).to_xmi(), encoding="utf-8")
    run = genner("data", "convert", tmp_path / "a.xmi", tmp_path / "out.jsonl")
    assert run.status == 0, run.stderr
    (record,) = records(tmp_path / "out.jsonl")
    assert (record["id"], found(record)) == ("a", ENTITIES[1:])
    assert "no TypeSystem.xml describes: 1" in run.stderr


@pytest.mark.filterwarnings("ignore:Type with name .*DocumentMetaData")
@pytest.mark.parametrize("suffix", [".zip", ".xmi", ".json"])
def test_what_is_written_is_read_back_by_cassis_and_by_genner(genner: Genner, tmp_path: Path, suffix: str) -> None:
    entities = [{"start": TEXT.index(each), "end": TEXT.index(each) + len(each), "label": label}
                for each, label in ENTITIES]  # fmt: skip
    first = {"id": "a/b", "text": TEXT, "entities": entities, "tokens": [[0, 3]]}
    values = [first] if suffix != ".zip" else [first, {"id": "A_B", "text": "", "entities": []}, {"text": "x y"}]
    values = [{"entities": [], **value} for value in values]
    path, back = tmp_path / f"out{suffix}", tmp_path / "back.jsonl"
    docs = write_documents(tmp_path / "in.jsonl", values)
    run = genner("data", "convert", docs, path, "--to", "cas")
    assert run.status == 0, run.stderr
    if suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.namelist() == ["TypeSystem.xml", "a_b.xmi", "A_B~2.xmi", "document-3.xmi"]
            data = archive.read("a_b.xmi")
            types = cassis.load_typesystem(io.BytesIO(archive.read("TypeSystem.xml")))
    else:
        data, types = path.read_bytes(), cassis.load_dkpro_core_typesystem()
    stream = io.BytesIO(data)  # whoever has no more types than cassis reads it leniently
    cas = (
        cassis.load_cas_from_json(stream)
        if suffix == ".json"
        else cassis.load_cas_from_xmi(stream, types, lenient=True)
    )
    read = [(each.get_covered_text(), each.value) for each in cas.select("NamedEntity")]
    assert sorted(read) == sorted(ENTITIES)
    assert genner("data", "convert", path, back, "--from", "cas").status == 0
    again = {record["id"]: found(record) for record in records(back)}
    assert again["a/b"] == ENTITIES
    assert len(again) == len(values)
    assert ["tokens" in record for record in records(back)] == ["tokens" in value for value in values]


def test_what_a_file_cannot_hold_is_refused_with_a_remedy(genner: Genner, tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "two.jsonl", [{"text": "a", "entities": []}, {"text": "b", "entities": []}])
    run = genner("data", "convert", docs, tmp_path / "out.xmi")
    assert (run.status, ".zip" in run.stderr, list(tmp_path.glob("out.*"))) == (2, True, [])
    docs = write_documents(tmp_path / "control.jsonl", [{"text": "a\x0bb", "entities": []}])
    run = genner("data", "convert", docs, tmp_path / "out.xmi")
    assert (run.status, ".json" in run.stderr, (tmp_path / "out.xmi").exists()) == (2, True, False)
    assert genner("data", "convert", docs, tmp_path / "out.json", "--to", "cas").status == 0


TORN = zipped(**{"a.xmi": "<a/>"}).replace(b"<a/>", b"<b/>")
"""Its checksum is another."""


@pytest.mark.parametrize("data", [b"", b"<a/>", b"{}", b"{", b"\xff", zipped(), zipped(**{"a.xmi": "<"}), TORN])
def test_other_bytes_are_an_error_with_the_file(genner: Genner, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.xmi").write_bytes(data)
    run = genner("data", "convert", tmp_path / "a.xmi", tmp_path / "out.jsonl")
    assert (run.status, "a.xmi" in run.stderr, "Traceback" in run.stderr) == (1, True, False)


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=texts, data=st.data())
def test_any_text_and_spans_come_back(text: str, data: Any, tmp_path: Path) -> None:
    spans = st.tuples(st.integers(0, len(text) - 1), st.integers(1, len(text))).filter(lambda span: span[0] < span[1])
    chosen = sorted(data.draw(st.sets(spans, max_size=4)))
    entities = tuple(Entity(start, end, "LABEL é", text[start:end]) for start, end in chosen)
    for suffix in (".xmi", ".json"):
        path = tmp_path / f"a{suffix}"
        FORMAT.write(iter([Document(text, "a", entities)]), str(path), AnnotationOptions(), Dropped())
        read: Iterator[Any] = FORMAT.records(str(path), AnnotationOptions(), Dropped())
        (record,) = read
        assert record.text == text
        assert sorted((each["start"], each["end"]) for each in record.fields["entities"]) == chosen
