"""The run behind `genner extract --cluster`: blocks of the input to actors, their parts to one output."""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from genner_cli.commands.extracting import Plan, Run, progress
from genner_cli.commands.stopping import Stopper
from genner_cli.errors import UsageError

if TYPE_CHECKING:
    from genner_cli.cluster.actor import Job
    from genner_cli.cluster.pool import Event, Pool
    from genner_cli.cluster.sizing import Machine, Size
    from genner_cli.files import Block
    from genner_cli.files.parts import Parts
    from genner_cli.files.resuming import ResumableOutput

log = logging.getLogger("genner")


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """`address`: of a cluster, None for one that is started here; `actors`, `block_bytes`: None for what suits."""

    address: str | None = None
    actors: int | None = None
    block_bytes: int | None = None


def run_on_cluster(plan: Plan, cluster: ClusterOptions) -> Run:
    """Extracts to a file; what an earlier run on a cluster left of it is gone on with."""
    from genner_cli.cluster.starting import connected
    from genner_cli.files.blocks import cut, suitable_length
    from genner_cli.files.resuming import ResumableOutput

    _check(plan)
    length = cluster.block_bytes or suitable_length(plan.paths)
    blocks = cut(plan.paths, length)
    wanted = (cluster.actors or 1) * (plan.options.engine.threads or 1)
    with (
        ResumableOutput(
            plan.output, inputs=plan.paths, text_field=plan.shape["text-field"], id_field=plan.shape["id-field"]
        ) as output,
        connected(cluster.address, cpus=wanted) as machines,
        Stopper() as stopper,  # the last, for ray sets handlers of its own
    ):
        plan = replace(plan, shape={**plan.shape, "cluster": f"blocks of {length:,} bytes"})
        return _run(plan, _sized(plan, cluster, machines), blocks, output, stopper)


def _check(plan: Plan) -> None:
    from genner_cli.files import STDIO

    if plan.output == STDIO:
        raise UsageError("--cluster: parts are kept beside the output until all are there; name a file after -o")
    if plan.limit is not None:
        raise UsageError("--limit counts documents from the start of the input; leave it or --cluster out")
    if plan.retry:
        raise UsageError("--retry-errors: leave --cluster out; what failed is extracted again on this machine")


def _run(plan: Plan, size: Size, blocks: list[Block], output: ResumableOutput, stopper: Stopper) -> Run:
    from genner_cli.cluster.pool import Pool
    from genner_cli.files.blocks import surveyed
    from genner_cli.files.parts import Parts, remove_parts
    from genner_cli.files.resuming import key_of

    with Pool(_job(plan, size), size) as pool:
        opened = pool.first()
        output.begin(opened.options, restart=plan.restart)
        with progress(plan, pool) as run:
            if output.finished or plan.restart:
                remove_parts(plan.output)
            if output.finished:
                return _checked(plan, output, run)
            parts = Parts(plan.output, surveyed(blocks), key_of(opened.options))
            _make_parts(pool, parts, run, stopper)
            output.fill(parts.records())
            remove_parts(plan.output)
    return run


def _sized(plan: Plan, cluster: ClusterOptions, machines: list[Machine]) -> Size:
    from genner_cli.cluster.sizing import sized

    engine = plan.options.engine
    size = sized(machines, actors=cluster.actors, threads=engine.threads, gpu=engine.gpu_layers != 0)
    if size.actors > size.room:
        log.warning("there is room for %d of %d actors; others start when machines join", size.room, size.actors)
    return size


def _job(plan: Plan, size: Size) -> Job:
    from genner_cli.cluster.actor import Job

    options = replace(plan.options, engine=replace(plan.options.engine, threads=size.cpus))
    return Job(os.getcwd(), options, plan.read, plan.to_line, plan.shape)


def _checked(plan: Plan, output: ResumableOutput, run: Run) -> Run:
    """A whole output is left as it is, if the input is still that of its records."""
    if not output.covers(plan.documents(run)):
        raise UsageError(
            f"{plan.output}: is complete, and the input has grown since; leave --cluster out to go on, or begin anew"
            " by --restart"
        )
    run.ledger, run.complete = output.ledger, True
    return run


def _make_parts(pool: Pool, parts: Parts, run: Run, stopper: Stopper) -> None:
    from genner_cli.cluster.pool import Lost

    missing = parts.missing()
    run.ledger = parts.ledger()
    making = _Making(parts, run, len(parts) - len(missing))
    try:
        for event in pool.work(stopper.feed(iter(missing))):
            making.obey(event)
            if isinstance(event, Lost) or pool.idle:  # after a signal there may be nobody to do it
                stopper.check()
        stopper.check()
    except KeyboardInterrupt as error:
        told = f"{making.whole:,} of {len(parts):,} parts are in {parts.folder}"
        error.add_note(f"{told}; run the same command again to go on from there")
        raise


@dataclass
class _Making:
    """Parts that are being made. `whole`: how many are; `read`: bytes of the blocks under way."""

    parts: Parts
    run: Run
    whole: int
    read: Counter[Block] = field(default_factory=Counter)

    def obey(self, event: Event) -> None:
        """Writes what came, and shows it."""
        from genner_cli.cluster.pool import Done, Given, Lost

        match event:
            case Given(block, batch):
                self.parts.write(block, batch.records)
                self.read[block] += batch.read
                self.run.read(batch.read)
            case Done(block):
                self.run.note(self.parts.finish(block))
                self.whole += 1
            case Lost(block):
                self.parts.drop(block)
                self.run.read(-self.read.pop(block, 0))
        self.run.tell()
