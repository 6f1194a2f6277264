"""A run on a cluster: blocks of the input to actors, their parts to one output."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from genner_cli.cluster.sizing import Machine, Size, sized
from genner_cli.cluster.starting import connected
from genner_cli.errors import UsageError
from genner_cli.files import Block
from genner_cli.files.blocks import cut, suitable_length, surveyed
from genner_cli.files.parts import Parts, remove_parts
from genner_cli.files.resuming import ResumableOutput
from genner_cli.running.local import Progress, Run, resumable, resumed, silent, started
from genner_cli.running.spec import STDIO, RunSpec
from genner_cli.running.stopping import Stopper

if TYPE_CHECKING:
    from genner_cli.cluster.pool import Event, Pool

log = logging.getLogger("genner")
GRACE_SECONDS = 60.0
"""For the blocks that actors have in hand when a signal comes; a block that is not done then is done again."""


def run(spec: RunSpec, progress: Progress = silent) -> Run:
    """Extracts to a file, resuming what an earlier run on a cluster left of it. Raises like `running.local.run`."""
    if spec.output == STDIO:
        raise UsageError("--cluster: parts are kept beside the output until all are there; name a file after -o")
    spec = spec.expanded()
    spec = replace(spec, block_bytes=spec.block_bytes or suitable_length(spec.inputs))
    blocks = cut(spec.inputs, spec.block_bytes or 0)
    with (
        resumable(spec) as output,
        _joined(spec) as machines,
        Stopper(GRACE_SECONDS) as stopper,  # the last, for ray sets handlers of its own
    ):
        return _run(spec, _sized(spec, machines), blocks, output, progress, stopper)


@contextmanager
def opened(spec: RunSpec) -> Iterator[Pool]:
    """The model in actors on a cluster, to answer requests; a backend that joins the cluster first."""
    with _joined(spec) as machines:
        from genner_cli.cluster.pool import RayBackend  # not before, see there

        with RayBackend(_sized(spec, machines)).open(spec) as pool:
            yield pool


def _joined(spec: RunSpec) -> AbstractContextManager[list[Machine]]:
    return connected(spec.address, cpus=(spec.actors or 1) * (spec.engine.threads or 1))


def _run(
    spec: RunSpec, size: Size, blocks: Sequence[Block], output: ResumableOutput, progress: Progress, stopper: Stopper
) -> Run:
    from genner_cli.cluster.pool import RayBackend  # not before a cluster is joined: ray reads its settings then

    spec = resumed(spec, output)
    with RayBackend(size).open(spec) as pool:
        settings = pool.facts.settings(spec)
        output.begin(settings, restart=spec.restart)
        with started(spec, blocks, pool, progress) as run:
            if output.finished or spec.restart:
                remove_parts(spec.output)
            if output.finished:
                return _checked(spec, output, run)
            parts = Parts(spec.output, surveyed(blocks), settings.key)
            _make_parts(pool, parts, run, stopper)
            output.fill(parts.records())
            remove_parts(spec.output)
    return run


def _sized(spec: RunSpec, machines: Sequence[Machine]) -> Size:
    engine = spec.engine
    size = sized(machines, actors=spec.actors, threads=engine.threads, gpu=engine.gpu_layers != 0)
    if size.actors > size.room:
        log.warning("there is room for %d of %d actors; others start when machines join", size.room, size.actors)
    return size


def _checked(spec: RunSpec, output: ResumableOutput, run: Run) -> Run:
    """A complete output is left as it is, if the input is still that of its records."""
    if not output.covers(spec.documents(progress=run.read)):
        raise UsageError(
            f"{spec.output}: is complete, and the input has grown since; drop --cluster to resume, or start over"
            " with --restart"
        )
    run.ledger, run.complete = output.ledger, True
    return run


def _make_parts(pool: Pool, parts: Parts, run: Run, stopper: Stopper) -> None:
    from genner_cli.cluster.pool import Done, Lost

    missing = parts.missing()
    run.ledger = parts.ledger()
    making = _Making(parts, run, len(parts) - len(missing))
    try:
        for event in pool.work(stopper.feed(iter(missing))):
            making.note(event)
            if isinstance(event, Done):
                stopper.done(event.work)
            if isinstance(event, Lost) or pool.idle:  # after a signal there may be nobody to do it
                stopper.check()
        stopper.check()
    except KeyboardInterrupt as error:
        counts = f"{making.whole:,} of {len(parts):,} parts are in {parts.folder}"
        error.add_note(f"{counts}; run the same command again to resume")
        raise


@dataclass
class _Making:
    """Parts that are being made. `whole`: how many are; `read`: bytes of the blocks under way."""

    parts: Parts
    run: Run
    whole: int
    read: Counter[Block] = field(default_factory=Counter)

    def note(self, event: Event) -> None:
        """Writes the records that came, and shows it."""
        from genner_cli.cluster.pool import Done, Given, Lost

        match event:
            case Given(Block() as block, batch):
                self.parts.write(block, batch.results)
                self.read[block] += batch.read
                self.run.read(batch.read)
            case Done(Block() as block):
                self.run.note(self.parts.finish(block))
                self.whole += 1
            case Lost(Block() as block):
                self.parts.drop(block)
                self.run.read(-self.read.pop(block, 0))
        self.run.update()
