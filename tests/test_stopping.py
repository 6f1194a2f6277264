"""genner_cli.running.stopping: what the first signal says, and when it ends a run at the latest."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator

import pytest

from genner_cli.running.stopping import Stopped, Stopper
from genner_cli.types import Document


def documents(count: int) -> Iterator[Document]:
    return (Document("Ann left.", source=f"docs.jsonl:{number}") for number in range(1, count + 1))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_names_what_is_waited_for_and_for_how_long(
    number: signal.Signals, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    def run() -> None:
        with Stopper(grace=60) as stopper:
            drawn = stopper.feed(documents(9))
            in_hand = [next(drawn) for _ in range(3)]
            stopper.done(in_hand[0])
            os.kill(os.getpid(), number)
            assert list(drawn) == [], "no further document is begun"
            stopper.check()

    with pytest.raises(Stopped) as raised:
        run()
    (line,) = caplog.messages
    assert line.startswith(f"{number.name}: finishing docs.jsonl:2 (9 characters) and 1 after it, for at most 60 s")
    assert raised.value.exit_code == status
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0), "no alarm comes later"


def test_what_takes_longer_than_the_grace_period_is_given_up() -> None:
    began = time.monotonic()

    def run() -> None:
        with Stopper(grace=0.2) as stopper:
            next(stopper.feed(documents(9)))
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)

    with pytest.raises(Stopped) as raised:
        run()
    assert 0.2 <= time.monotonic() - began < 10
    assert raised.value.exit_code == 143


def test_what_is_done_in_time_is_kept_and_handlers_are_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]

    def run() -> None:
        with Stopper(grace=0.3) as stopper:
            document = next(stopper.feed(documents(9)))
            os.kill(os.getpid(), signal.SIGTERM)
            stopper.done(document)
            stopper.check()

    with pytest.raises(Stopped):
        run()
    time.sleep(0.4)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before


def test_a_signal_with_nothing_in_hand_ends_it_without_a_message(caplog: pytest.LogCaptureFixture) -> None:
    def run() -> None:
        with Stopper():
            os.kill(os.getpid(), signal.SIGINT)
            logging.getLogger("genner").debug("the handler runs before this")

    with pytest.raises(Stopped):
        run()
    assert caplog.messages == []
