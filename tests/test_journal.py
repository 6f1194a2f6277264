"""genner_cli.files.journal: what is left of lines and entries after a crash at any byte."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genner_cli.errors import GennerError, UsageError
from genner_cli.files.journal import Entry, Journal, digest_of
from genner_cli.ledger import Outcome
from genner_cli.types import Document, FailedDocument, Reason

KEY = b"options"
LINES = [b'{"a":1}\n', b"x" * 5000 + b"\n", b"{}\n", b'{"id":"\xc3\xa4"}\n']


def write(folder: Path, lines: Sequence[bytes]) -> Journal:
    journal = Journal(str(folder / "lines"), str(folder / "index"))
    with journal:
        journal.resume()
        for number, line in enumerate(lines):
            journal.append(line, digest_of(Document(f"text {number}"), KEY), Outcome(number, 1, 2, None))
    return journal


def whole(journal: Journal) -> list[bytes]:
    """The lines that entries speak of, each as the entry says."""
    data, start, found = Path(journal.lines).read_bytes(), 0, []
    for entry in journal:
        found.append(data[start : entry.end])
        start = entry.end
    assert start == len(data)
    return found


def test_entries_say_what_was_written(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "lines"), str(tmp_path / "index"))
    with journal:
        journal.resume()
        for reason in (None, *Reason):
            journal.append(b"{}\n", b"d" * 16, Outcome(2**40, 7, 9, reason))
    assert [entry.outcome for entry in journal] == [Outcome(2**40, 7, 9, reason) for reason in (None, *Reason)]
    assert [entry.end for entry in journal] == [3 * count for count in range(1, len(Reason) + 2)]
    assert all(entry.digest == b"d" * 16 for entry in journal)


@settings(max_examples=60)
@given(lines=st.lists(st.binary(max_size=40).map(lambda data: data + b"\n"), max_size=8), data=st.data())
def test_files_cut_anywhere_are_repaired_to_a_whole_prefix_and_go_on(
    tmp_path: Path, lines: list[bytes], data: st.DataObject
) -> None:
    for name in ("lines", "index"):
        (tmp_path / name).unlink(missing_ok=True)
    journal = write(tmp_path, lines)
    for name in ("lines", "index"):
        size = os.path.getsize(tmp_path / name)
        os.truncate(tmp_path / name, data.draw(st.integers(0, size), label=name))
    kept_lines = (tmp_path / "lines").read_bytes()
    kept_entries = sum(1 for _ in journal)
    with journal:
        journal.resume()
        count = len(whole(journal))
        assert whole(journal) == lines[:count]
        fitting = [n for n in range(kept_entries + 1) if len(b"".join(lines[:n])) <= len(kept_lines)]
        assert count == max(fitting)
        for line in lines[count:]:
            journal.append(line, b"d" * 16, Outcome(0, 0, 0, None))
    assert whole(journal) == lines


@pytest.mark.parametrize("number", range(len(LINES)))
def test_a_line_that_is_not_as_it_was_written_ends_the_prefix(tmp_path: Path, number: int) -> None:
    """As after a power cut that left zeros where data should be."""
    journal = write(tmp_path, LINES)
    data = bytearray((tmp_path / "lines").read_bytes())
    data[len(b"".join(LINES[:number]))] = 0
    (tmp_path / "lines").write_bytes(data)
    with journal:
        journal.resume()
    assert whole(journal) == LINES[:number]


def test_zeros_at_the_end_of_the_index_are_no_entries(tmp_path: Path) -> None:
    journal = write(tmp_path, LINES)
    with open(tmp_path / "index", "ab") as index:
        index.write(bytes(1000))
    with journal:
        journal.resume()
    assert whole(journal) == LINES


def test_the_digest_tells_documents_and_options_apart() -> None:
    documents = [
        Document("a"),
        Document("b"),
        Document("a", "1"),
        Document("a", "1", fields={"id": 1}),
        Document("a", "1", fields={"id": "1"}),
        Document("a", fields={"x": [1]}),
        Document("a", fields={"x": b"not JSON", "y": float("nan")}),
        FailedDocument("a", "f:1"),
    ]
    assert len({digest_of(document, key) for document in documents for key in (b"1", b"2")}) == 2 * len(documents)
    assert digest_of(Document("a", source="x:1"), KEY) == digest_of(Document("a", source="y:2"), KEY)


def test_a_second_holder_of_the_lock_is_refused(tmp_path: Path) -> None:
    journal = write(tmp_path, LINES)
    with journal, pytest.raises(BlockingIOError), Journal(journal.lines, journal.index):
        pass
    with Journal(journal.lines, journal.index):
        pass


def test_a_full_disk_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "lines").symlink_to("/dev/full")
    with Journal(str(tmp_path / "lines"), str(tmp_path / "index")) as journal:
        journal._data = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
        with pytest.raises(GennerError, match=r"lines: .*\(No space left on device\)"):
            journal.append(b"{}\n", b"d" * 16, Outcome(0, 0, 0, None))
    assert list(journal) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"), Journal(str(tmp_path / "l"), str(tmp_path / "none" / "i")):
        pass


def test_another_journal_takes_the_place_with_its_lock(tmp_path: Path) -> None:
    journal = write(tmp_path, LINES)
    with journal:
        new = Journal(f"{journal.lines}.new", f"{journal.index}.new").__enter__()
        new.resume()
        new.append(b"new\n", b"d" * 16, Outcome(0, 0, 0, None))
        journal.take_over(new)
        with pytest.raises(BlockingIOError), Journal(journal.lines, journal.index):
            pass
        journal.resume()
        journal.append(b"more\n", b"d" * 16, Outcome(0, 0, 0, None))
    assert whole(journal) == [b"new\n", b"more\n"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "lines"]


def test_an_entry_has_a_fixed_size() -> None:
    sizes = {len(Entry(b"d" * 16, end, end, Outcome(end, 1, 1, None)).packed()) for end in (1, 2**31)}
    assert sizes == {48}
