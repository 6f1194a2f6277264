"""`genner judge` on the command line, with the bundled model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from asking import news
from conftest import Run
from random_model import write_random_model
from resuming import records, wait_for_lines, write_documents
from test_chat import CHAT

from genner_cli.demonstrations import Query
from genner_cli.engine.chat import CHAT_TEMPLATE
from genner_cli.engine.model import Model
from genner_cli.methods.candidates import LABEL, OVERLAP, VALID, Candidate
from genner_cli.running.judges import voters
from genner_cli.running.llama import task_of
from genner_cli.running.spec import RunSpec
from genner_cli.types import Label, Piece

Genner = Callable[..., Run]
CPU = ("--threads", "1", "--gpu-layers", "0")
TYPES = ("--types", "PER,ORG,LOC")


def extracted(genner: Genner, folder: Path, count: int = 6) -> Path:
    inputs = write_documents(folder / "in.jsonl", [{"id": at, "text": text} for at, text in enumerate(news()[:count])])
    output = folder / "a.jsonl"
    assert genner("extract", inputs, *TYPES, "-o", output).status == 0
    return output


def without_scores(path: Path) -> list[list[tuple[int, int, str]]]:
    return [[(e["start"], e["end"], e["label"]) for e in each["entities"]] for each in records(path)]


def test_a_model_keeps_nearly_all_of_its_own_entities(genner: Genner, tmp_path: Path) -> None:
    """It opened them because that was more probable than not; so only one with a doubtful end or label is left out."""
    path = extracted(genner, tmp_path)
    run = genner("judge", path, *TYPES, *CPU, "-o", tmp_path / "out.jsonl")
    assert (run.status, run.stdout) == (0, b"")
    assert "6 documents" in run.stderr
    for before, after in zip(records(path), records(tmp_path / "out.jsonl"), strict=True):
        kept = {(each["start"], each["label"]) for each in after["entities"]}
        assert kept >= {(each["start"], each["label"]) for each in before["entities"] if each["score"] > 0.52}


def test_two_files_are_united_and_do_not_overlap(genner: Genner, tmp_path: Path) -> None:
    path = extracted(genner, tmp_path)
    longer = tmp_path / "b.jsonl"
    values = records(path)
    for value in values:
        for each in value["entities"]:
            each["end"] = min(each["end"] + 4, len(value["text"]))
            each["text"] = value["text"][each["start"] : each["end"]]
    longer.write_bytes(b"".join(orjson.dumps(value) + b"\n" for value in values))
    output = tmp_path / "out.jsonl"
    assert genner("judge", path, longer, *TYPES, *CPU, "-o", output).status == 0
    stages = sorted(each.name for each in (tmp_path / "out.jsonl.stages").glob("*.jsonl"))
    assert stages == ["1-valid-genner-small.jsonl"]
    for value in records(output):
        ends = [each["end"] for each in value["entities"]]
        assert all(one <= other["start"] for one, other in zip(ends, value["entities"][1:], strict=False))
        assert all(each["sources"] and "genner-small" in each["votes"]["valid"] for each in value["entities"])
    assert genner("evaluate", path, output).status == 0


def test_killed_it_resumes_to_the_same_bytes(genner: Genner, tmp_path: Path) -> None:
    many = tmp_path / "many.jsonl"
    spans = [(0, 3, "PER"), (8, 12, "LOC")]
    entities = [{"start": start, "end": end, "label": label} for start, end, label in spans]
    write_documents(many, [{"id": at, "text": f"Ada saw Oslo {at}.", "entities": entities} for at in range(320)])
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert genner("judge", many, *TYPES, *CPU, "-o", whole).status == 0
    command = [sys.executable, "-m", "genner_cli", "judge", many, *TYPES, *CPU, "-o", output]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL)
    wait_for_lines(Path(f"{output}.partial"), 1, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not output.exists()
    assert genner("judge", many, *TYPES, *CPU, "-o", output).status == 0
    assert output.read_bytes() == whole.read_bytes()
    again = genner("judge", many, *TYPES, *CPU, "-o", output)
    assert "nothing to do" in again.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--output"),
        (("-o", "-"), "-o FILE"),
        (("-o", "out.jsonl", "--ask", "truth"), "valid, label"),
        (("-o", "out.jsonl", "--ask", "best"), "two files"),
        (("-o", "out.jsonl", "--ask", "best,valid"), "alone"),
        (("-o", "out.jsonl", "--whole"), "--ask best"),
        (("-o", "out.jsonl", "--ask", "label"), "--labels"),
        (("-o", "out.jsonl", "--model", "missing.gguf"), "missing.gguf"),
        (("-o", "out.jsonl", "--roles", "missing.json"), "missing.json"),
        (("-o", "in.jsonl"), "overwrite"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_remedy(
    genner: Genner, tmp_path: Path, options: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_documents(tmp_path / "in.jsonl", [{"id": 1, "text": "Ada", "entities": []}])
    run = genner("judge", "in.jsonl", *options, *CPU)
    assert run.status in (1, 2)
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_labels_that_no_entity_has_are_refused_of_a_stream_too(genner: Genner, tmp_path: Path) -> None:
    value = {"id": 1, "text": "Ada", "entities": [{"start": 0, "end": 3, "label": "PER"}]}
    path, output = write_documents(tmp_path / "in.jsonl", [value]), tmp_path / "out.jsonl"
    for given in ({"stdin": path.read_bytes()}, {}):
        run = genner("judge", "-" if given else path, "--types", "person,ORG", *CPU, "-o", output, **given)
        assert run.status == 2
        assert all(expected in run.stderr for expected in ("PER (1)", "person, ORG", "--types"))
        assert not output.exists()
    run = genner("judge", "-", "--types", "PER,ORG", *CPU, "-o", tmp_path / "other.jsonl", stdin=path.read_bytes())
    assert run.status == 0, run.stderr


def test_roles_are_chosen_written_and_used(genner: Genner, tmp_path: Path) -> None:
    """Of two files, one of which has nothing but errors, the other is chosen; judged by its roles, it is no worse."""
    path = extracted(genner, tmp_path)
    gold, wrong = tmp_path / "gold.jsonl", tmp_path / "wrong.jsonl"
    values = records(path)
    gold.write_bytes(b"".join(orjson.dumps(value) + b"\n" for value in values))
    for value in values:
        begin = value["text"][:3].rstrip()
        value["entities"] = [{"start": 0, "end": len(begin), "label": "LOC", "text": begin}]
    wrong.write_bytes(b"".join(orjson.dumps(value) + b"\n" for value in values))
    roles = tmp_path / "roles.json"
    run = genner("calibrate", gold, "--predictions", f"{path},{wrong}", "-o", roles, *TYPES)
    assert run.status == 0, run.stderr
    assert b"extractors: a\n" in run.stdout
    found = orjson.loads(roles.read_bytes())
    assert (found["extractors"], found["voters"]) == (["a"], ["genner-small"])
    assert found["measured"]["f1"] == 1.0
    judged = tmp_path / "out.jsonl"
    run = genner("judge", path, wrong, "--roles", roles, *TYPES, *CPU, "-o", judged)
    assert run.status == 0, run.stderr
    assert without_scores(judged) == without_scores(path)
    for ask, remedy in (("overlap", "valid"), ("best", "two files")):
        run = genner("judge", path, wrong, "--roles", roles, "--ask", ask, *TYPES, *CPU, "-o", tmp_path / "no.jsonl")
        assert (run.status, remedy in run.stderr) == (2, True)
    gold.write_bytes(wrong.read_bytes())  # other gold, other roles: what was asked about both is not asked again
    run = genner("calibrate", gold, "--predictions", f"{path},{wrong}", "-o", roles, *TYPES)
    assert run.status == 0, run.stderr
    assert orjson.loads(roles.read_bytes())["extractors"] == ["wrong"]
    asked = tmp_path / "roles.json.stages" / "valid.jsonl"
    before = asked.stat().st_ino
    for options, anew in (((), False), (("--restart",), True)):
        assert genner("calibrate", gold, "--predictions", f"{path},{wrong}", "-o", roles, *TYPES, *options).status == 0
        assert (asked.stat().st_ino != before) == anew
    assert genner("calibrate", gold, "--restart", "-o", roles, *TYPES).status == 2
    missing = genner("judge", path, "--roles", roles, *TYPES, *CPU, "-o", tmp_path / "none.jsonl")
    assert (missing.status, "'wrong'" in missing.stderr) == (2, True)


def test_predictions_of_other_documents_are_named_before_any_model_is_asked(genner: Genner, tmp_path: Path) -> None:
    gold = write_documents(tmp_path / "gold.jsonl", [{"id": "1", "text": "In Oslo.", "entities": []}])
    other = write_documents(tmp_path / "other.jsonl", [{"id": "9", "text": "In Rome.", "entities": []}])
    run = genner("calibrate", gold, "--predictions", other, "-o", tmp_path / "roles.json", *TYPES)
    assert (run.status, f"{other}:1" in run.stderr) == (1, True)
    assert not (tmp_path / "roles.json.stages").exists()


def test_a_threshold_below_all_votes_reads_as_yes_to_everything(genner: Genner, tmp_path: Path) -> None:
    path = extracted(genner, tmp_path, 1)
    run = genner("calibrate", path, "--predictions", path, "-o", tmp_path / "roles.json", *TYPES)
    assert b"voters: genner-small (yes to everything)\n" in run.stdout


def test_extraction_with_verification_is_extraction_then_judgement(genner: Genner, tmp_path: Path) -> None:
    path = extracted(genner, tmp_path)
    apart, at_once = tmp_path / "apart.jsonl", tmp_path / "once.jsonl"
    assert genner("judge", path, *TYPES, *CPU, "-o", apart).status == 0
    run = genner("extract", tmp_path / "in.jsonl", *TYPES, "--verify", "self", "-o", at_once)
    assert run.status == 0, run.stderr
    assert without_scores(at_once) == without_scores(apart)
    assert genner("extract", tmp_path / "in.jsonl", *TYPES, "--verify", "self").status == 2
    missing = genner("extract", tmp_path / "in.jsonl", *TYPES, "--verify", "missing.gguf", "-o", tmp_path / "no.jsonl")
    assert missing.status != 0
    assert not (tmp_path / "no.jsonl.stages").exists()  # nothing was extracted first


def test_a_document_that_failed_does_not_keep_the_others_from_being_verified(genner: Genner, tmp_path: Path) -> None:
    texts = [*news()[:6], 7]
    inputs = write_documents(tmp_path / "in.jsonl", [{"id": at, "text": text} for at, text in enumerate(texts)])
    run = genner("extract", inputs, *TYPES, "--verify", "self", "-o", tmp_path / "out.jsonl")
    assert run.status == 1
    *sound, failed = records(tmp_path / "out.jsonl")
    entities = [each for record in sound for each in record["entities"]]
    assert entities
    assert all("genner-small" in each["votes"]["valid"] for each in entities)
    assert "error" in failed


def test_documents_that_failed_are_extracted_and_verified_again(genner: Genner, tmp_path: Path) -> None:
    values = [{"id": at, "text": text} for at, text in enumerate(news()[:3])]
    inputs, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    write_documents(inputs, [*values[:2], {"id": 2, "text": 7}])
    command = ("extract", inputs, *TYPES, "--verify", "self", "-o", output)
    assert genner(*command).status == 1
    write_documents(inputs, values)
    run = genner(*command, "--retry-errors")
    assert run.status == 0, run.stderr
    again = tmp_path / "whole.jsonl"
    assert genner("extract", inputs, *TYPES, "--verify", "self", "-o", again).status == 0
    assert output.read_bytes() == again.read_bytes()


def test_entities_of_other_labels_are_left_out_of_a_judgement_and_counted(genner: Genner, tmp_path: Path) -> None:
    path = write_documents(
        tmp_path / "a.jsonl",
        [
            {
                "text": "Ada saw Oslo.",
                "entities": [{"start": 0, "end": 3, "label": "PER"}, {"start": 8, "end": 12, "label": "LOC"}],
            }
        ],
    )
    run = genner("judge", path, "--types", "PER", *CPU, "-o", tmp_path / "out.jsonl")
    assert (run.status, "LOC (1)" in run.stderr) == (0, True)
    assert {each["label"] for each in records(tmp_path / "out.jsonl")[0]["entities"]} <= {"PER"}


def test_a_judgement_of_labels_that_no_entity_has_is_refused_with_those_there_are(
    genner: Genner, tmp_path: Path
) -> None:
    entities = [{"start": 0, "end": 3, "label": "PER"}, {"start": 8, "end": 12, "label": "LOC"}]
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path in paths:
        write_documents(path, [{"id": 1, "text": "Ada saw Oslo.", "entities": entities}])
    run = genner("judge", *paths, "--types", "FOO,BAR", *CPU, "-o", tmp_path / "out.jsonl")
    assert run.status == 2
    assert all(said in run.stderr for said in ("FOO", "BAR", "PER (2)", "LOC (2)", "--types"))
    assert not (tmp_path / "out.jsonl").exists()


def test_a_judgement_of_texts_without_any_entity_is_no_error(genner: Genner, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_documents(path, [{"id": 1, "text": "Nobody came.", "entities": []}])
    assert genner("judge", path, "--types", "PER", *CPU, "-o", tmp_path / "out.jsonl").status == 0
    assert records(tmp_path / "out.jsonl")[0]["entities"] == []


def test_roles_are_not_chosen_for_labels_that_gold_does_not_have(genner: Genner, tmp_path: Path) -> None:
    path, roles = extracted(genner, tmp_path, 3), tmp_path / "roles.json"
    run = genner("calibrate", path, "--predictions", path, "--types", "FOO", *CPU, "-o", roles)
    assert (run.status, "FOO" in run.stderr, roles.exists()) == (2, True, False)


def foreign_model(tmp_path: Path) -> Path:
    return write_random_model(tmp_path / "foreign.gguf", change={CHAT_TEMPLATE: CHAT}, leave_out=["genner."])


def test_examples_stand_in_the_extraction_prompt_within_a_quarter_of_the_context(tmp_path: Path) -> None:
    train, foreign = tmp_path / "train.jsonl", foreign_model(tmp_path)
    texts = [f"Ada{'x' * (at % 7)} Lovelace saw Oslo, number {at}." for at in range(60)]
    values = [{"text": text, "entities": [{"start": 0, "end": text.index(" "), "label": "PER"}]} for text in texts]
    write_documents(train, values)
    options = {"context": 1024, "threads": 1, "gpu_layers": 0, "labels": (Label("PER"),), "shots": 32}
    text = "Bob Lovelace saw Oslo, number 7."
    for nearest in ("none", "words"):
        (voter,) = voters([str(foreign)], RunSpec.of(examples=str(train), nearest=nearest, **options))
        with voter.open(VALID) as judge, Model(foreign, gpu_layers=0) as model:
            posed = judge.poser.odds(Query(text, text), Candidate(0, 3, "PER"))
            assert posed
            own, nothing = posed.questions
            assert own.prefix == nothing.prefix
            shared, examples = "".join(piece.text for piece in own.prefix), own.rest[:-2]
            plain = RunSpec.of(**{**options, "shots": None})
            size = len(model.prompt((*own.prefix, *examples))) - len(model.prompt(_without_examples(foreign, plain)))
            assert ("Lovelace saw Oslo" in shared, examples == ()) == (nearest == "none", nearest == "none")
            assert 20 < size <= 1024 // 4
            assert all(answer.error is None for _, answer in judge.score(posed.questions))
    assert "number 7." in examples[-4].text  # the nearest is the last


def _without_examples(model: Path, spec: RunSpec) -> tuple[Piece, ...]:
    with Model(model, gpu_layers=0) as opened:
        task = task_of(opened, spec, "2026-01-01")
        return task.prompt.prefix(task.labels)


def test_a_judgement_with_other_examples_is_not_resumed(genner: Genner, tmp_path: Path) -> None:
    path, train = extracted(genner, tmp_path, 3), tmp_path / "train.jsonl"
    text = "Ada Lovelace saw Oslo."
    write_documents(train, [{"text": text, "entities": [{"start": 0, "end": 12, "label": "PER"}]}] * 3)
    command = ("judge", path, "--model", foreign_model(tmp_path), *TYPES, *CPU)
    plain, shown = tmp_path / "plain.jsonl", tmp_path / "shown.jsonl"
    assert genner(*command, "-o", plain).status == 0
    assert genner(*command, "--examples", train, "--shots", "2", "-o", shown).status == 0
    assert "shots" in str(orjson.loads(Path(f"{shown}.run.json").read_bytes()))
    assert genner(*command, "-o", shown).status == 2
    assert genner(*command, "--examples", train, "--shots", "2", "--nearest", "words", "-o", shown).status == 2
    smaller = genner(*command, "--examples", train, "--shots", "2", "--context", "1024", "-o", shown)
    assert (smaller.status, "context" in smaller.stderr) == (2, True)
    assert genner(*command, "--shots", "2", "-o", plain).status == 2
    assert genner(*command, "--chat", "-o", plain).status == 2
    asked = tmp_path / "no.jsonl"
    assert genner(*command, "--examples", train, "--chat", "-o", asked).status == 2
    assert genner(*command, "--examples", train, "--nearest", "span", "-o", asked).status == 2
    assert genner(*command, "--chat", "-o", asked).status == 0
    own = genner("judge", path, "--examples", train, *TYPES, *CPU, "-o", tmp_path / "own.jsonl")
    assert (own.status, "no examples" in own.stderr) == (0, True)


def test_a_foreign_model_asks_for_the_labels_of_the_entities_where_none_are_named(
    genner: Genner, tmp_path: Path
) -> None:
    path, foreign = tmp_path / "a.jsonl", foreign_model(tmp_path)
    write_documents(path, [{"id": 1, "text": "Ada saw Oslo.", "entities": [
        {"start": 0, "end": 3, "label": "artist"}, {"start": 8, "end": 12, "label": "town"}]}])  # fmt: skip
    for ask, chat in ((VALID, False), (VALID, True), (OVERLAP, False), (LABEL, False)):
        (voter,) = voters([str(foreign)], RunSpec.of(threads=1, gpu_layers=0), [str(tmp_path / "a*.jsonl")], chat=chat)
        with voter.open(ask) as judge:
            posed = judge.poser.odds(Query("Ada saw Oslo.", "Ada saw Oslo."), Candidate(0, 3, "artist"))
        assert posed
        assert ("artist\ntown\n" in [piece.text for piece in posed.questions[0].prefix]) == (not chat and ask != LABEL)
    piped = genner("judge", "-", "--model", foreign, *CPU, "-o", tmp_path / "p.jsonl", stdin=path.read_bytes())
    assert (piped.status, "--types" in piped.stderr) == (2, True)


ENDS = """
import os
from genner_cli.running import asked
from genner_cli.engine.engine import Engine
score = Engine.score
def dying(self, questions):
    if any("Oslo" in question.rest[0].text for question in questions):
        os.abort()
    return score(self, questions)
Engine.score = dying
asked.main()
"""


def test_a_question_that_kills_the_process_costs_its_vote(tmp_path: Path) -> None:
    from genner_cli import hub
    from genner_cli.methods.asking import answered
    from genner_cli.running.judges import open_judge

    spec = RunSpec.of(labels=(Label("PER"),), threads=1, gpu_layers=0)
    with open_judge(hub.BUNDLED, spec) as sound, open_judge(hub.BUNDLED, spec, child=ENDS) as dying:
        texts = ("Ada saw Bergen.", "Ada saw Oslo.", "Ada slept.")
        posed = [sound.poser.odds(Query(text, text), Candidate(0, 3, "PER")) for text in texts]
        first, _, last = answered(posed, sound.score)
        assert answered(posed, dying.score) == [first, None, last]


def test_a_model_that_is_broken_costs_its_votes(genner: Genner, tmp_path: Path) -> None:
    path = extracted(genner, tmp_path)
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF and nothing else")
    run = genner("judge", path, "--model", bad, *TYPES, *CPU, "-o", tmp_path / "out.jsonl")
    assert run.status == 0
    assert "bad.gguf" in run.stderr
    assert all(each["entities"] == [] for each in records(tmp_path / "out.jsonl"))
