"""What Python callers have: an extractor that is opened once, runs like the command's, and the snippets of the docs."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson
import pytest
from asking import STORIES, news
from conftest import Run
from resuming import assert_same, documents, manifest, records, write_documents

from genner_cli import Extractor, Label, extract, hub, run
from genner_cli.errors import ModelError, UsageError

SNIPPETS = re.findall(r"```python\n(.*?)```", (STORIES.parents[1] / "docs" / "python.md").read_text(), re.DOTALL)
FRAMES = {"pandas": "pd.DataFrame", "polars": "pl.DataFrame", "datasets": "Dataset.from_dict"}
FIXED: dict[str, Any] = {"slots": 1, "threads": 1, "gpu_layers": 0}


@pytest.fixture
def opened_models(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The models that are opened in this process."""
    from genner_cli.engine.model import Model

    opened: list[Path] = []
    start = Model.__init__

    def note(self: Model, path: Path, **options: Any) -> None:
        opened.append(path)
        start(self, path, **options)

    monkeypatch.setattr(Model, "__init__", note)
    return opened


def test_a_model_is_opened_once_for_many_calls(opened_models: list[Path]) -> None:
    texts = news()[:3]
    with Extractor(types="PER,ORG", **FIXED) as extractor:
        assert [label.name for label in extractor.labels] == ["PER", "ORG"]
        alone = [record for text in texts for record in extractor.extract([text])]
        assert [record["text"] for record in alone] == texts
        assert_same(list(extractor.extract(texts)), alone)
        assert list(extractor.extract([])) == []
    assert opened_models == [hub.BUNDLED]
    assert_same(list(extract(texts, types=["PER", Label("ORG")], **FIXED)), alone)


def test_options_are_those_of_the_command_by_name(random_path: Path) -> None:
    options = {"text_field": "body", "id_field": "key", "keep_completion": True, **FIXED}
    with Extractor(["PER"], model=str(random_path), **options) as extractor:
        (record,) = extractor.extract([{"key": 7, "body": "Ann met Bob.", "more": 1}])
    assert list(record) == ["key", "body", "more", "entities", "completion"]


def test_an_extractor_works_only_inside_with(random_path: Path) -> None:
    extractor = Extractor(model=str(random_path), **FIXED)
    with pytest.raises(UsageError):
        list(extractor.extract(["x"]))
    with extractor:
        assert list(extractor.extract(["x"]))
    with pytest.raises(UsageError):
        list(extractor.extract(["x"]))
    with pytest.raises(ModelError), Extractor(model="none.gguf"):
        pass


@pytest.mark.parametrize(("given", "nearest"), [("typs", "types"), ("min_scores", "min_score"), ("thread", "threads")])
def test_an_option_that_does_not_exist_is_named_with_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(TypeError, match=f"'{given}'.*'{nearest}'"):
        Extractor(**{given: 1})
    with pytest.raises(TypeError, match=r"'zzzzzz'$"):
        run("in.jsonl", output="out.jsonl", zzzzzz=1)


@pytest.mark.parametrize(
    ("given", "instead"),
    [("labels", "types: names, or Labels"), ("nested", "depth: 4"), ("flat", "depth: 1"), ("verify", "alone")],
)
def test_an_option_that_is_otherwise_called_in_python_names_what_to_give(given: str, instead: str) -> None:
    for call in (Extractor, lambda **options: run("in.jsonl", output="out.jsonl", **options)):
        with pytest.raises(TypeError, match=f"'{given}'.*{instead}"):
            call(types="PER", **{given: True})


def test_an_option_about_files_is_refused_where_there_are_none() -> None:
    with pytest.raises(TypeError, match=r"'limit' is an option of run"):
        Extractor(types="PER", limit=2)


def test_a_file_of_labels_is_not_taken_for_a_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Extractor(types="labels.yaml")
    Path("labels.yaml").write_text("PER: a person\n")
    with pytest.raises(UsageError, match=r"'labels.yaml' is a file"):
        Extractor(types="labels.yaml")
    Path("PER").write_text("")
    assert Extractor(types="PER"), "a file without a suffix may be called like a label"


@pytest.mark.parametrize("document", ["Ann met Bob.", {"text": "Ann met Bob."}])
def test_a_single_document_is_not_taken_for_a_list(document: Any, random_path: Path) -> None:
    with pytest.raises(TypeError):
        list(extract(document, model=str(random_path), **FIXED))


def test_a_call_that_was_left_early_can_be_followed_by_another() -> None:
    with Extractor(**FIXED) as extractor:
        left = extractor.extract(news()[:5])
        first = next(left)
        with pytest.raises(UsageError):
            list(extractor.extract(["x"]))
        left.close()  # type: ignore[attr-defined]
        assert_same(list(extractor.extract(news()[:1])), [first])


def test_a_run_writes_what_the_command_writes_and_is_resumed(genner: Callable[..., Run], tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "in.jsonl", [*documents(5), "no object"])
    ledger = run(docs, output=tmp_path / "api.jsonl", types="PER,ORG", **FIXED)
    assert (ledger.documents, ledger.failed) == (6, 1)
    told = genner("extract", docs, "-o", tmp_path / "command.jsonl", "--types", "PER,ORG", "--slots", 1)
    assert told.status == 1
    assert_same(records(tmp_path / "api.jsonl"), records(tmp_path / "command.jsonl"))
    for name in ("options", "ledger", "state"):
        assert manifest(tmp_path / "api.jsonl")[name] == manifest(tmp_path / "command.jsonl")[name]
    before = (tmp_path / "api.jsonl").stat()
    again = run([str(docs)], output=tmp_path / "api.jsonl", types=["PER", "ORG"], **FIXED)
    assert again == ledger
    assert (tmp_path / "api.jsonl").stat().st_ino == before.st_ino
    write_documents(docs, [*documents(5), "no object", *documents(8)[5:]])
    assert run(docs, output=tmp_path / "api.jsonl", types="PER,ORG", **FIXED).documents == 9
    with pytest.raises(UsageError):
        run(docs, output=tmp_path / "api.jsonl", types="PER", **FIXED)


def test_a_run_works_in_another_thread(tmp_path: Path) -> None:
    """Where Python lets nobody handle signals."""
    docs = write_documents(tmp_path / "in.jsonl", documents(2))
    found = []
    thread = threading.Thread(target=lambda: found.append(run(docs, output=tmp_path / "out.jsonl", **FIXED)))
    thread.start()
    thread.join()
    assert [ledger.documents for ledger in found] == [2]


PARENT = """
import json, sys
from genner_cli import hub
resolved = []
resolve = hub.resolve
hub.resolve = lambda *args, **more: resolved.append(args) or resolve(*args, **more)
from genner_cli.commands import main
sys.argv = ["genner", *sys.argv[1:]]
try:
    main()
except SystemExit as error:
    heavy = {"genner_cli.engine.llama", "numpy", "torch"}
    print(json.dumps([error.code, sorted(heavy & set(sys.modules)), len(resolved)]))
"""


def test_the_parent_of_a_supervised_run_loads_no_model_library_and_resolves_no_model(tmp_path: Path) -> None:
    docs, out = write_documents(tmp_path / "in.jsonl", documents(3)), tmp_path / "out.jsonl"
    command = (sys.executable, "-c", PARENT, "extract", docs, "-o", out, "--slots", "1", "--threads", "1")
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [0, [], 0], done.stderr
    assert len(records(out)) == 3


def test_a_child_resolves_and_fingerprints_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from genner_cli.running import llama
    from genner_cli.running.spec import RunSpec

    counted: list[str] = []
    for owner, name in ((hub, "resolve"), (llama, "fingerprint")):
        function = getattr(owner, name)

        def note(*args: Any, function: Any = function, name: str = name, **more: Any) -> Any:
            counted.append(name)
            return function(*args, **more)

        monkeypatch.setattr(owner, name, note)
    spec = RunSpec.of(**FIXED)
    with llama.LlamaBackend().open(spec) as opened:
        opened.facts.settings(spec)
        assert opened.facts.settings(spec).options["model's content"] == opened.facts.fingerprint
    assert counted == ["resolve", "fingerprint"]


def snippets() -> Iterator[Any]:
    for number, snippet in enumerate(SNIPPETS):
        package = next((name for name, made in FRAMES.items() if made in snippet), None)
        if package is None or find_spec(package):
            yield pytest.param(snippet, id=package or str(number))


@pytest.mark.parametrize("snippet", list(snippets()))
def test_the_snippets_of_the_documentation_run(snippet: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.jsonl.gz").write_bytes(gzip.compress(orjson.dumps({"text": "Ann met Bob."}) + b"\n"))
    names: dict[str, Any] = {}
    exec(snippet, names)
    made = names.get("frame", names.get("data"))
    if made is not None:
        assert [len(entities) > 0 for entities in made["entities"]] == [True, True]
        assert made["entities"][0][0]["label"] == "PER"
