"""Models with a recurrent state, of which nothing can be taken back: extracted from like any other, without drafts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from asking import CORPORA, assert_same_texts, default_labels, instructions_of, news, request, run
from changed_gguf import changed
from conftest import ONE_THREAD, Run
from recurrent_models import ARCHITECTURES, HEADS, WIDTH, write_recurrent_model

from genner_cli import extraction
from genner_cli.engine.context import Context
from genner_cli.engine.engine import Engine
from genner_cli.engine.gguf_header import read_header
from genner_cli.engine.model import Model
from genner_cli.errors import ModelError
from genner_cli.formats import FORMATS
from genner_cli.tasks import Task
from genner_cli.types import Document

TEXTS = [text for texts in CORPORA.values() for text in texts]
HYBRID = ("jamba", "lfm2")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("recurrent")
    return {name: write_recurrent_model(folder / f"{name}.gguf", name) for name in ARCHITECTURES}


@pytest.fixture(params=ARCHITECTURES)
def recurrent(request: pytest.FixtureRequest, paths: dict[str, Path]) -> Iterator[Model]:
    with Model(paths[request.param], gpu_layers=0) as model:
        yield model


def test_offsets_are_exact_in_every_format_and_nothing_is_drafted(recurrent: Model) -> None:
    labels, prompt = tuple(default_labels(recurrent)), instructions_of(recurrent).prompt
    entities = 0
    with Engine(recurrent, ONE_THREAD) as engine:
        for format in FORMATS:
            task = Task(labels, prompt, format, 2)
            for result in extraction.extract(map(Document, TEXTS[::2]), task, engine.generate):
                assert result.error is None
                text = result.document.text
                assert all(text[entity.start : entity.end] == entity.text for entity in result.entities)
                entities += len(result.entities)
        assert engine.statistics.drafted == 0
    assert entities > len(TEXTS)


def test_one_slot_writes_what_many_do(recurrent: Model) -> None:
    requests = [request(recurrent, text, format=format, depth=2) for text in news()[:2] for format in FORMATS]
    assert_same_texts(run(recurrent, requests, ONE_THREAD), run(recurrent, requests, replace(ONE_THREAD, slots=1)))


def test_a_prompt_in_parts_is_a_prompt_at_once(recurrent: Model) -> None:
    requests = [request(recurrent, text, format="xml") for text in (*news()[:4], " ".join(news()[:3]))]
    small = replace(ONE_THREAD, batch_tokens=32)
    assert_same_texts(run(recurrent, requests, ONE_THREAD), run(recurrent, requests, small))


@pytest.mark.parametrize("name", HYBRID)
def test_slots_of_a_hybrid_make_room_for_each_other(name: str, paths: dict[str, Path]) -> None:
    with Model(paths[name], gpu_layers=0) as model:
        requests = [request(model, text, format="xml", depth=4) for text in news(30, 70)[:12]]
        tight = run(model, requests, replace(ONE_THREAD, context=256))
        assert [completion.error for completion in tight] == [None] * len(requests)
        assert_same_texts(run(model, requests, ONE_THREAD), tight)


def test_a_part_of_a_state_cannot_be_removed(recurrent: Model) -> None:
    """Else the tokens that are removed would still be seen."""
    context = Context(recurrent, ONE_THREAD, 1)
    context.add([1, 2, 3], 0, 1, outputs=1)
    context.decode()
    with pytest.raises(ModelError):
        context.forget(1, 2)
    context.forget(1)
    context.close()


@pytest.mark.parametrize("name", ["mamba", "jamba"])
def test_an_interrupted_run_is_resumed_to_the_same_records(
    name: str, paths: dict[str, Path], tmp_path: Path, genner: Callable[..., Run]
) -> None:
    data, whole, cut = (tmp_path / each for each in ("docs.jsonl", "whole.jsonl", "cut.jsonl"))
    data.write_bytes(b"".join(orjson.dumps({"text": text}) + b"\n" for text in news()[:6]))
    arguments = ("extract", data, "--model", paths[name], "--format", "xml", "--slots", 1)
    assert genner(*arguments, "-o", whole).status == 0
    assert genner(*arguments, "-o", cut, "--limit", 3).status == 0
    assert genner(*arguments, "-o", cut).status == 0
    assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("name", HYBRID)
def test_the_cache_of_a_hybrid_is_that_of_its_layers_with_attention(name: str, paths: dict[str, Path]) -> None:
    assert read_header(paths[name]).kv_cache_bytes(1000) == 1000 * 2 * 2 * HEADS * (WIDTH // HEADS)


def test_an_architecture_that_llama_cpp_does_not_know_is_named(random_path: Path, tmp_path: Path) -> None:
    path = changed(random_path, tmp_path / "new.gguf", {"general.architecture": "llama99"})
    with pytest.raises(ModelError, match=r"new\.gguf.*llama-cpp-python \d.*'llama99'.*upgrade"):
        Model(path, gpu_layers=0)
