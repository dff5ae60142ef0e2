"""A whole command: asks the servers, runs once or searches, and says what it finds as it goes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Sequence

from rich.console import Console

from framewire.commands.bench import table
from framewire.commands.bench.conditions import Condition
from framewire.commands.bench.content import Content
from framewire.commands.bench.figures import figures_of
from framewire.commands.bench.outcome import Outcome, Step, capacity_sentence, written
from framewire.commands.bench.plan import Plan
from framewire.commands.bench.progress import Progress
from framewire.commands.bench.run import measure, probe
from framewire.commands.bench.search import Judgement, find_capacity
from framewire.commands.bench.timeline import seconds_of


class _Interrupted(Exception):
    """The user wants no further step."""


async def run(
    plan: Plan,
    content: Content,
    conditions: Sequence[Condition],
    *,
    cameras: int,
    most: int,
    console: Console,
) -> Outcome:
    """Measures `cameras` cameras, or with conditions searches from there up to `most`.

    An interrupt ends it with what was measured so far. Raises FramewireError when a server does not answer or
    no picture can be made.
    """
    session = _Session(plan, content, Outcome(conditions), console)
    with _interrupts(session.stop):
        await session.introduce(cameras)
        if conditions:
            await session.search(cameras, most)
        else:
            await session.once(cameras)
    return session.outcome


class _Session:
    def __init__(self, plan: Plan, content: Content, outcome: Outcome, console: Console) -> None:
        self.outcome = outcome
        self.stop = asyncio.Event()
        self._plan = plan
        self._content = content
        self._console = console

    async def introduce(self, cameras: int) -> None:
        """Says what will be measured."""
        for line in await probe(self._plan):
            self._console.print(line)
        self._console.print(table.pictures(self._plan, self._content))
        self._console.print(table.described(self._plan, None if self.outcome.conditions else cameras))
        if self.outcome.conditions:
            self._console.print("until " + ", ".join(str(condition) for condition in self.outcome.conditions))
        for note in table.notes(self._plan, self.outcome.conditions):
            self._console.print(f"note: {note}")
        self._console.print()

    async def once(self, cameras: int) -> None:
        """Measures one number of cameras."""
        figures = (await self._step(cameras)).figures
        self.outcome.interrupted = self.stop.is_set()
        for part in (table.counts_table(figures), "", table.ages_table(figures), "", *table.lines(figures)):
            self._console.print(part)
        for warning in table.warnings(figures):
            self._console.print(f"warning: {warning}", style="yellow")

    async def search(self, start: int, most: int) -> None:
        """Looks for the most cameras that meet the conditions."""
        outcome = self.outcome
        try:
            outcome.capacity = await find_capacity(self._judge, start=start, most=most)
            outcome.sentence = capacity_sentence(outcome, outcome.capacity, self._plan.fps)
        except _Interrupted:
            outcome.interrupted = True
            carried = max((step.figures.cameras for step in outcome.steps[:-1] if step.holds), default=0)
            outcome.sentence = (
                f"interrupted: the most that was carried so far is {table.counted(carried, 'camera')}"
            )
        self._console.print()
        self._console.print(outcome.sentence, style="bold")

    async def _judge(self, cameras: int) -> Judgement:
        if self.outcome.steps:  # the server has just been loaded, perhaps beyond what it can
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.stop.wait(), self._plan.settle_s)
        step = await self._step(cameras)
        conditions, figures = self.outcome.conditions, step.figures
        verdict = "cut" if self.stop.is_set() else "ok" if step.holds else "broken"
        self._console.print(table.step_line(figures, written(conditions, figures), verdict))
        if self.stop.is_set():
            raise _Interrupted
        by_far = any(condition.clearly_broken(figures) for condition in conditions)
        # A miss of the tool's own says nothing about the server, however wide.
        return Judgement(step.holds, clear=by_far and not figures.tool.is_bottleneck)

    async def _step(self, cameras: int) -> Step:
        plan = self._plan
        with Progress(self._console, plan.ramp_s + plan.warmup_s + plan.duration_s) as progress:
            measured = await measure(plan, cameras, self._content, self.stop, progress.tick)
        figures = figures_of(measured)
        conditions = self.outcome.conditions
        tolerated = not figures.failed or any(condition.name == "errors" for condition in conditions)
        holds = tolerated and all(condition.holds(figures) for condition in conditions)
        step = Step(measured, figures, seconds_of(measured), holds)
        self.outcome.steps.append(step)
        return step


@contextlib.contextmanager
def _interrupts(stop: asyncio.Event) -> Iterator[None]:
    """The first interrupt sets `stop`; a second one ends the program as always."""
    loop = asyncio.get_running_loop()

    def interrupted() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    with contextlib.suppress(NotImplementedError, RuntimeError):  # Windows; not the main thread
        loop.add_signal_handler(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError, RuntimeError):
            loop.remove_signal_handler(signal.SIGINT)
