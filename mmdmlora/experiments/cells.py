"""The numbers of a table before they are averaged."""

from __future__ import annotations

from dataclasses import dataclass, field

from .runs import Run
from .search import Choice, Search
from .spaces import Settings, Space


@dataclass(frozen=True)
class Cell:
    """A contender on one task under one condition.

    Attributes:
        table: The table's name, such as ``table3``.
        backbone: The backbone's name in the table.
        row: The contender's name in the table.
        column: The condition's name, such as ``10 %``; empty where columns are tasks.
        task: The task's name, a file of ``configs/_base_/tasks``.
        group: The task's group in its benchmark.
        config: The config's name.
        search: What chooses settings; None for those of the config.
        settings: Settings of trials and final runs, below the chosen ones.
        fixed: Settings of the condition, over the chosen ones.
        seeds: The settings that a seed of the run brings with it, such as that of drawn
            data, by the seed.
        details: See :class:`~mmdmlora.experiments.runs.Run`.
    """

    table: str
    backbone: str
    row: str
    column: str
    task: str
    group: str
    config: str
    search: Search | None
    seeds: dict[int, Settings]
    settings: Settings = field(default_factory=dict)
    fixed: Settings = field(default_factory=dict)
    details: tuple[str, ...] = ()

    @property
    def left_open(self) -> Space:
        """What the cell takes from its search: the space without what it fixes itself."""
        if self.search is None:
            return Space({})
        return self.search.sampler.space.without(self.fixed)

    def runs(self, choice: Choice | None, part: str) -> dict[int, Run]:
        """The final runs by their seed; without a choice those of the config.

        Args:
            choice: What the search has found.
            part: ``test`` or ``paper``.
        """
        chosen = choice.best.settings if choice and choice.best else {}
        common = {**self.settings, **chosen, **self.fixed}
        return {
            seed: Run(self.config, {**common, **own}, seed, part, details=self.details)
            for seed, own in self.seeds.items()
        }
