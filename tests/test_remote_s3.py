"""Input and output in a bucket: moto's server on 127.0.0.1."""

from __future__ import annotations

import gzip
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import Run
from resuming import Start, assert_same, documents, records, start, told, wait_for_lines, write_documents

from genner_cli.files import remote

__all__ = ["start"]
pytestmark = pytest.mark.filterwarnings("ignore")  # of botocore and flask
BUCKET = "s3://news"


@pytest.fixture(scope="module")
def settings() -> Iterator[dict[str, str]]:
    """A server with nothing in it; the environment that leads there."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    yield {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    server.stop()


@pytest.fixture
def bucket(settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import s3fs

    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("news")
    yield system
    system.rm("news", recursive=True)


@pytest.fixture
def extract(genner: Callable[..., Run]) -> Callable[..., str]:
    """Runs `genner extract` in this process, one slot on one thread, with the bundled model; gives what it said."""

    def run(*args: object, status: int = 0) -> str:
        done = genner("extract", *args, "--slots", 1)
        assert done.status == status, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    return run


def test_a_run_from_and_to_a_bucket_is_killed_and_gone_on_with(
    bucket: Any, extract: Callable[..., str], start: Start, tmp_path: Path
) -> None:
    values = documents(60)
    docs = write_documents(tmp_path / "in.jsonl", values)
    for number, part in enumerate((values[:25], values[25:])):
        lines = b"".join(orjson.dumps(value) + b"\n" for value in part)
        bucket.pipe(f"news/in/{number}.jsonl.gz", gzip.compress(lines))
    out = f"{BUCKET}/out/entities.jsonl.gz"
    process = start(f"{BUCKET}/in/*.gz", "-o", out)
    wait_for_lines(Path(f"{remote.local_name(out)}.partial"), 10, process)
    process.kill()
    process.communicate()
    assert not bucket.exists("news/out/entities.jsonl.gz")
    assert " already done in an earlier run; " in extract(f"{BUCKET}/in/*.gz", "-o", out)
    extract(docs, "-o", tmp_path / "local.jsonl")
    found = [orjson.loads(line) for line in gzip.decompress(bucket.cat("news/out/entities.jsonl.gz")).splitlines()]
    assert_same(found, records(tmp_path / "local.jsonl"))
    assert "complete" in extract(f"{BUCKET}/in/*.gz", "-o", out)
    assert not list(tmp_path.glob("*.partial")) + list(tmp_path.glob("*.packed"))


def test_parquet_grows_in_a_bucket(bucket: Any, extract: Callable[..., str], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    docs, out = write_documents(tmp_path / "in.jsonl", documents(6)), f"{BUCKET}/entities.parquet"
    extract(docs, "-o", out, "--limit", 4)
    extract(docs, "-o", out)
    with bucket.open("news/entities.parquet") as file:
        assert pq.read_table(file).column("id").to_pylist() == [str(each["id"]) for each in documents(6)]


def test_what_cannot_be_reached_is_told(
    bucket: Any, extract: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = write_documents(tmp_path / "in.jsonl", documents(2))
    assert re.search(rf"{BUCKET}/none\.jsonl: .*no such file", extract(f"{BUCKET}/none.jsonl", status=2))
    error = extract(docs, "-o", "s3://no-such-bucket/out.jsonl", status=1)
    assert "s3://no-such-bucket/out.jsonl: cannot be written (" in error
    assert len(list(tmp_path.glob("*.partial"))) == 1, "and the work is kept"
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(bucket).clear_instance_cache()
    assert f"{BUCKET}/in.jsonl: cannot be reached (" in extract(f"{BUCKET}/in.jsonl", status=2)
    assert f"{BUCKET}/*.jsonl: cannot be reached (" in extract(f"{BUCKET}/*.jsonl", status=2)
    assert f"{BUCKET}/out.jsonl: cannot be reached (" in extract(docs, "-o", f"{BUCKET}/out.jsonl", status=2)


def test_a_large_file_goes_up_in_parts_and_comes_back(bucket: Any, tmp_path: Path) -> None:
    data = os.urandom(60 * 2**20)
    (tmp_path / "big").write_bytes(data)
    remote.put(str(tmp_path / "big"), f"{BUCKET}/big")
    with remote.opened(f"{BUCKET}/big") as file:
        file.seek(12_345_678)
        assert file.read(100) == data[12_345_678:12_345_778]
        file.seek(0)
        assert file.read() == data
    assert remote.size(f"{BUCKET}/big") == len(data)


def test_actors_read_blocks_of_a_file_in_a_bucket_and_the_driver_puts_what_they_find_there(
    bucket: Any, extract: Callable[..., str], start: Start, tmp_path: Path
) -> None:
    docs = write_documents(tmp_path / "in.jsonl", documents(60))
    bucket.put_file(str(docs), "news/in.jsonl")
    extract(docs, "-o", tmp_path / "local.jsonl")
    cluster = ("--cluster", "ray", "--actors", 2, "--block-bytes", 1000)
    out = f"{BUCKET}/out.jsonl"
    told(start(f"{BUCKET}/in.jsonl", "-o", out, *cluster), 0)
    assert_same(
        [orjson.loads(line) for line in bucket.cat("news/out.jsonl").splitlines()], records(tmp_path / "local.jsonl")
    )
    assert "complete" in told(start(f"{BUCKET}/in.jsonl", "-o", out, *cluster), 0)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith((".parts", ".partial"))]
