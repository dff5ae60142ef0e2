"""What a build shows while it runs."""

from __future__ import annotations

import io
import threading

from rich.console import Console

from framewire_server.cli.build_bar import BuildBar


def test_phases_within_phases_are_bars_below_each_other() -> None:
    screen = io.StringIO()
    with BuildBar(Console(file=screen, force_terminal=True, width=80)) as bar:
        bar.begin("Building Engine", None, 3)
        bar.begin("Tactic Selection", "Building Engine", 20)
        bar.advance("Tactic Selection", 7)
        bar._bars.refresh()
    shown = screen.getvalue()
    assert "Building Engine" in shown and "  Tactic Selection" in shown and "7/20" in shown


def test_names_that_come_again_and_early_ends_leave_no_bar() -> None:
    bar = BuildBar(Console(file=io.StringIO(), force_terminal=True))
    with bar:
        for _ in range(2):
            bar.begin("Tactic Selection", None, 20)
        bar.begin("Tactic Selection", "Tactic Selection", 0)
        bar.advance("Tactic Selection", 1)
        bar.end("Tactic Selection")
        bar.end("Tactic Selection")
        bar.advance("Tactic Selection", 2)
        bar.end("never begun")
    assert not bar._bars.tasks


def test_elsewhere_than_on_a_terminal_it_prints_a_line_for_each_outer_phase() -> None:
    lines = io.StringIO()
    with BuildBar(Console(file=lines)) as bar:
        bar.begin("Building [Engine]", None, 3)
        bar.begin("Tactic Selection", "Building [Engine]", 20)
        bar.end("Tactic Selection")
        bar.end("Building [Engine]")
    assert lines.getvalue() == "Building [Engine]\n"


def test_many_threads_may_tell_it_at_once() -> None:
    bar = BuildBar(Console(file=io.StringIO()))

    def tell(name: str) -> None:
        for n in range(50):
            bar.begin(name, None, 50)
            bar.advance(name, n)
            bar.end(name)

    threads = [threading.Thread(target=tell, args=(f"phase {n % 2}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not bar._bars.tasks
    assert not bar.cancelled
    bar.cancel()
    assert bar.cancelled
