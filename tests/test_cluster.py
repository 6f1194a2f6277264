"""`genner extract --cluster ray` with real Ray processes and the bundled model, disturbed in the middle."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from fake_hub import Repository, fake_hub
from resuming import Start, assert_same, documents, manifest, records, start, told, write_documents

from genner_cli import hub
from genner_cli.cluster.run import _make_parts
from genner_cli.files import Block
from genner_cli.files.blocks import cut, surveyed
from genner_cli.files.parts import Parts
from genner_cli.running.local import Run
from genner_cli.running.stopping import Stopper

__all__ = ["start"]
pytestmark = pytest.mark.slow
PATIENCE = 600  # seconds after which a run is taken to hang, also on a machine with much else to do
said = partial(told, patience=PATIENCE)
TWO = ("--cluster", "ray", "--actors", 2, "--block-bytes", 400)
FIXED = ("--max-document-bytes", 500)
WHOLE = 240  # documents: 55 blocks, so that a run is in the middle when a test disturbs it
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
head = {"num_cpus": 2, "object_store_memory": 80 * 2**20, "include_dashboard": False}
cluster = Cluster(True, head_node_args=head)
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.shutdown()
"""
"""A cluster on this machine that runs join, up to a line on standard input."""
BAD = [b"{torn", b"", b'{"text": 5}', b'{"text": "%s"}' % (b"x" * 600), b'{"text": ""}']


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents, with lines among them that fail: at the start, in the middle, and longer than a block."""
    path = write_documents(tmp_path_factory.mktemp("input") / "in.jsonl", documents(WHOLE))
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\r\n".join([*lines[:2], *BAD, *lines[2:70], *BAD, *lines[70:]]))
    return path


@pytest.fixture(scope="module")
def local(docs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run on this machine alone."""
    out = tmp_path_factory.mktemp("local") / "out.jsonl"
    begin = start.__wrapped__()  # type: ignore[attr-defined]
    said(next(begin)(docs, *FIXED, "-o", out), 1)
    begin.close()
    return out


def joining() -> dict[str, str]:
    """The environment of a cluster that keeps to the loopback address, and of what joins it."""
    return {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster for the tests that need no cluster of their own: to start one takes seconds."""
    with subprocess.Popen(
        (sys.executable, "-c", CLUSTER), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=joining()
    ) as cluster:
        assert cluster.stdout
        yield next(line for line in cluster.stdout if line.startswith("127.0.0.1:")).strip()
        cluster.communicate("\n")


@pytest.fixture
def joined(address: str, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """The options of a run with two actors on that cluster, whose processes keep to the loopback address."""
    for name, value in joining().items():
        monkeypatch.setenv(name, value)
    return (*TWO, "--address", address)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def parts(out: Path) -> dict[str, os.stat_result]:
    """The parts that are whole."""
    return {path.name: path.stat() for path in Path(f"{out}.parts").glob("*.part")}


def wait_for_parts(out: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    patience = time.monotonic() + PATIENCE
    while len(parts(out)) < count:
        assert process.poll() is None, process.communicate()[1].decode()
        assert time.monotonic() < patience
        time.sleep(0.01)


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """All processes that a process started, and those that they did, with their names."""
    try:
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return
    for child in map(int, listed):
        try:
            yield child, Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        yield from descendants(child)


def actors(process: subprocess.Popen[bytes]) -> list[int]:
    return [pid for pid, name in descendants(process.pid) if name.startswith("ray::Worker")]


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
"""127.0.0.1, the same mapped into IPv6, and ::1, as /proc/net writes them."""


def listening(process: subprocess.Popen[bytes]) -> set[str]:
    """The addresses that a process and all that it started take connections at."""
    sockets = set()
    for pid in (process.pid, *(pid for pid, _ in descendants(process.pid))):
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                sockets.add(os.readlink(link))
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    found = {line[1].partition(":")[0] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets}
    assert found
    return found


def assert_like_local(out: Path, local: Path) -> None:
    """Record by record, ledger and options, but for what says that a cluster made it; and nothing else is left."""
    assert_same(records(out), records(local))
    assert manifest(out)["ledger"] == manifest(local)["ledger"]
    assert manifest(out)["way"] == {"cluster": "ray", "block-bytes": 400}
    assert manifest(out)["options"] == manifest(local)["options"]
    assert manifest(out)["state"] == "complete"
    assert sorted(path.name for path in out.parent.iterdir()) == [
        out.name,
        f"{out.name}.run.index",
        f"{out.name}.run.json",
    ]


def test_an_actor_that_is_killed_in_the_middle_is_replaced_and_the_output_is_that_of_a_local_run(
    start: Start, docs: Path, out: Path, local: Path
) -> None:
    process = start(docs, *FIXED, "-o", out, *TWO, "--stats", out.parent.parent / "stats.json")
    wait_for_parts(out, 3, process)
    before = parts(out)
    found = actors(process)
    assert len(found) == 2
    assert listening(process) <= LOOPBACK
    os.kill(found[0], signal.SIGKILL)
    wait_for_parts(out, 6, process)
    assert {name: parts(out)[name].st_ino for name in before} == {name: s.st_ino for name, s in before.items()}
    error = said(process, 1)
    assert error.count("an actor died") == 1
    assert f"{WHOLE + 8} documents, " in error
    assert_like_local(out, local)
    statistics = orjson.loads((out.parent.parent / "stats.json").read_bytes())
    assert statistics["documents"] == WHOLE + 8
    assert statistics["failed"] == 6  # an empty text is a document without entities


def test_a_driver_that_is_killed_leaves_its_parts_and_the_next_does_only_what_is_missing(
    start: Start, docs: Path, out: Path, local: Path, joined: tuple[object, ...]
) -> None:
    """The first on a cluster of its own, the next ones on another."""
    process = start(docs, *FIXED, "-o", out, *TWO)
    wait_for_parts(out, 4, process)
    started = [pid for pid, name in descendants(process.pid) if "ray::Worker" in name or "genner_cli" in name]
    assert len(started) == 4, "two actors, and the engine of each"
    process.kill()
    process.communicate()
    wait_for_the_end(started)
    before = parts(out)
    error = said(start(docs, *FIXED, "-o", out), 2)
    assert "block-bytes: 400" in error
    process = start(docs, *FIXED, "-o", out, *joined)
    wait_for_parts(out, len(before) + 2, process)
    process.send_signal(signal.SIGINT)
    error = said(process, 130)
    count = len(parts(out))
    assert f"{out}.parts" in error
    assert count > len(before)
    kept = parts(out)
    assert {name: (s.st_ino, s.st_mtime_ns) for name, s in before.items()} == {
        name: (kept[name].st_ino, kept[name].st_mtime_ns) for name in before
    }
    done = sum(len(records(path)) for path in Path(f"{out}.parts").glob("*.part"))
    error = said(start(docs, *FIXED, "-o", out, *joined), 1)
    assert re.search(rf"\b{done}\b", error)
    assert_like_local(out, local)
    inode = out.stat().st_ino
    said(start(docs, *FIXED, "-o", out), 1)
    assert out.stat().st_ino == inode


def test_a_signal_to_all_processes_of_a_run_ends_it_and_its_parts_stay(start: Start, docs: Path, out: Path) -> None:
    """As a scheduler does: nobody is left to do a block again."""
    process = start(docs, *FIXED, "-o", out, *TWO, start_new_session=True)
    wait_for_parts(out, 3, process)
    os.killpg(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=PATIENCE)
    # Ray's processes get the signal too, and Ray ends the driver with 1 if it is the first to see that they are gone
    assert process.returncode in (143, 1), error.decode()
    assert process.returncode == 1 or f"{out}.parts" in error.decode()
    assert len(parts(out)) >= 3


def wait_for_the_end(pids: list[int]) -> None:
    """Until none of these processes runs any more: a killed driver leaves no engine behind."""
    patience = time.monotonic() + PATIENCE
    while any(runs(pid) for pid in pids):
        assert time.monotonic() < patience
        time.sleep(0.1)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


TWO_MACHINES = """
import logging, sys
from ray.cluster_utils import Cluster
cluster = Cluster(True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False})
nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(nodes[0], allow_graceful=False)
print("removed", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


def test_a_cluster_is_joined_and_the_blocks_of_a_lost_machine_are_done_by_another(
    start: Start, docs: Path, out: Path, local: Path
) -> None:
    environment = joining()
    with subprocess.Popen(
        (sys.executable, "-c", TWO_MACHINES), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as cluster:
        assert cluster.stdin
        assert cluster.stdout
        address = next(line for line in cluster.stdout if line.startswith("127.0.0.1:")).strip()
        options = ("--cluster", "ray", "--block-bytes", 400, "--address", address)
        process = start(docs, *FIXED, "-o", out, *options, env=environment)
        wait_for_parts(out, 4, process)
        cluster.stdin.write("\n")
        cluster.stdin.flush()
        assert cluster.stdout.readline() == "removed\n"
        error = said(process, 1)
        cluster.stdin.write("\n")
        cluster.stdin.flush()
    assert "actor" in error
    assert_like_local(out, local)


def test_a_model_of_the_hub_is_fetched_once_for_the_actors_of_a_machine(
    start: Start, docs: Path, out: Path, local: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with fake_hub() as remote:
        remote.repositories["own/small"] = Repository({"m.gguf": hub.BUNDLED.read_bytes()})
        cache = str(tmp_path_factory.mktemp("cache"))
        environment = {**os.environ, "HF_ENDPOINT": remote.address, "HF_HOME": cache, "HF_HUB_OFFLINE": "0"}
        model = ("--model", "own/small:m.gguf", "--download")
        said(start(docs, *FIXED, "-o", out, *TWO, *model, env=environment), 1)
        assert [name for name in remote.ranges if name.startswith("m.gguf")] == ["m.gguf"]
    assert_same(records(out), records(local))


def test_what_is_wrong_in_an_actor_is_reported_in_one_line(
    start: Start, docs: Path, out: Path, joined: tuple[object, ...]
) -> None:
    error = said(start(docs, "-o", out, *joined, "--model", out.parent / "none.gguf"), 2)
    assert "none.gguf" in error
    assert f"machine {socket.gethostname()}" in error
    assert not list(out.parent.iterdir())


def test_no_cluster_at_an_address_is_reported_in_one_line(start: Start, docs: Path, out: Path) -> None:
    error = said(start(docs, "-o", out, *TWO, "--address", "127.0.0.1:9"), 2)
    assert error.startswith("genner: --address 127.0.0.1:9: ")


POISON = """
import os, sys
from genner_cli.cluster.sizing import Size
from genner_cli.cluster.starting import connected
from genner_cli.errors import GennerError, ReadError
from genner_cli.files import Block
from genner_cli.files.blocks import surveyed
from genner_cli.generation import EngineOptions
from genner_cli.running.spec import RunSpec

spec = RunSpec(engine=EngineOptions(threads=1, gpu_layers=0))
blocks = list(surveyed([Block(sys.argv[1], 0, 300), Block(sys.argv[1], 300, 600)]))
with connected(sys.argv[2]):
    from genner_cli.cluster import pool as pools  # not before: ray reads its settings when it is imported
    from genner_cli.cluster.pool import Given, Pool, Worker

    class Poisoned(Worker):
        def extract(self, block):
            if block.start:
                FAULT
            yield from Worker.extract(self, block)

    pools.Worker = Poisoned

    with Pool(spec, Size(1, 1, 0, 1)) as pool:
        try:
            for event in pool.work(iter(blocks)):
                if not isinstance(event, Given):
                    print(*event, file=sys.stderr)
        except GennerError as error:
            print(error, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("os.kill(os.getpid(), 9)", ""),
        ("raise ReadError('the server hung up')", "the server hung up"),
        ("raise KeyError('a bug')", "KeyError('a bug')"),
    ],
)
@pytest.mark.usefixtures("joined")
def test_a_block_that_ends_every_actor_ends_the_run_and_not_the_blocks_before_it(
    docs: Path, address: str, fault: str, reason: str
) -> None:
    lines = poisoned(docs, address, fault)
    starts = [line.split("start=")[1].split(",")[0] for line in lines if line.startswith("Block(")]
    assert starts == ["0", "300", "300", "300"], "done, then lost three times"
    assert lines[-1].startswith(f"{docs}, bytes 300 to 600: ")
    assert reason in lines[-1]


@pytest.mark.usefixtures("joined")
def test_a_block_that_cannot_be_read_for_a_moment_is_done_again(docs: Path, address: str, tmp_path: Path) -> None:
    fault = f"""if not os.path.exists({str(tmp_path / "once")!r}):
                    open({str(tmp_path / "once")!r}, "w").close()
                    raise ReadError("the server hung up")"""
    lines = poisoned(docs, address, fault)
    assert [line.split("start=")[1].split(",")[0] for line in lines if line.startswith("Block(")] == ["0", "300", "300"]
    assert "(the server hung up)" in "\n".join(lines)


def poisoned(docs: Path, address: str, fault: str) -> list[str]:
    """What was lost, done and said with a fault at the second block."""
    command = (sys.executable, "-c", POISON.replace("FAULT", fault), str(docs), address)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return [line for line in said(process, 0).splitlines() if line]


EXTRACTOR = """
import sys
import orjson
from genner_cli import Extractor
texts = orjson.loads(sys.argv[1])
small = {"actors": 2, "slots": 1, "threads": 1, "gpu_layers": 0}
with Extractor(types="PER,ORG", cluster="ray", address=sys.argv[2], **small) as extractor:
    found = [list(extractor.extract(texts)), list(extractor.extract(texts[:3]))]
sys.stderr.buffer.write(orjson.dumps(found))
"""


@pytest.mark.usefixtures("joined")
def test_an_extractor_on_a_cluster_gives_what_one_here_gives(address: str) -> None:
    from genner_cli import extract

    texts = [value["text"] for value in documents(200)]
    command = (sys.executable, "-c", EXTRACTOR, orjson.dumps(texts).decode(), address)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    whole, part = orjson.loads(said(process, 0))
    here = list(extract(texts, types="PER,ORG", slots=1, threads=1, gpu_layers=0))
    assert_same(whole, here)
    assert_same(part, here[:3])


def test_a_cluster_that_others_could_reach_is_not_worked_on() -> None:
    """Ray reads its settings when it is imported; who has done so before gets it refused, not another's ear."""
    script = "import ray, genner_cli.cluster.starting as s\nwith s.connected(None): pass"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.run(
        (sys.executable, "-c", script), capture_output=True, check=False, timeout=PATIENCE, env=environment
    )
    assert process.returncode == 1
    assert b"GennerError: " in process.stderr
    assert b"--address" in process.stderr


def test_the_first_ctrl_c_ends_a_run_that_waits_for_machines(docs: Path, out: Path) -> None:
    from genner_cli.cluster.pool import Tick

    class Waiting:
        idle = True

        def work(self, blocks: Iterator[Block]) -> Iterator[Tick]:
            next(blocks)
            os.kill(os.getpid(), signal.SIGINT)
            while True:
                yield Tick()

    parts = Parts(str(out), surveyed(cut([str(docs)], 400)), b"key")
    run = Run(cast(Any, None), show=lambda done, text: None, started=0.0, shown=float("inf"))
    with Stopper() as stopper, pytest.raises(KeyboardInterrupt) as caught:
        _make_parts(cast(Any, Waiting()), parts, run, stopper)
    assert "0 of" in caught.value.__notes__[0]
