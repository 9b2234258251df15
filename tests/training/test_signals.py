from __future__ import annotations

import signal
import threading

import pytest

from patchword.training.signals import Stopping, StopSignals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_asks_and_is_answered(number: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert stop.asked is None
        signal.raise_signal(number)
        assert stop.asked == number.name
    assert signal.getsignal(number) is before
    out, err = capfd.readouterr()
    assert out == ""
    assert f"{number.name}: finishing this step, then saving; once more stops at once" in err


def test_the_second_stops_at_once() -> None:
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it runs aside

    def twice() -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)

    with StopSignals() as stop, pytest.raises(KeyboardInterrupt):
        twice()
    signal.signal(signal.SIGINT, kept)
    assert stop.asked == "SIGTERM"


def test_interruptible_work_is_left() -> None:
    done = []

    def work() -> None:
        with stop.interruptible():
            signal.raise_signal(signal.SIGINT)
            done.append(1)

    with StopSignals() as stop:
        with pytest.raises(Stopping):
            work()
        with pytest.raises(Stopping), stop.interruptible():  # asked before: not begun
            done.append(2)
    assert done == []


def test_a_broad_handler_does_not_swallow_it() -> None:
    def evaluate() -> None:
        with stop.interruptible():
            try:
                signal.raise_signal(signal.SIGINT)
            except Exception:  # as a task's own code may do
                return

    with StopSignals() as stop, pytest.raises(Stopping):
        evaluate()


def test_in_another_thread_signals_are_left_alone() -> None:
    handlers = []

    def run() -> None:
        with StopSignals():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
