"""What a search chooses from."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmdmlora._requirements import extra
from mmdmlora.apis.locations import config_root
from mmdmlora.io import expand_home

from .runs import Run

Settings = dict[str, Any]
# The first so many trials are drawn at random, the later ones by their results.
GENERATION = 12


@dataclass(frozen=True)
class Space:
    """The values of each setting.

    Attributes:
        values: By the setting's key with dots, as in ``--cfg-options``.
    """

    values: dict[str, list[Any]]

    def __post_init__(self) -> None:
        for key, values in self.values.items():
            if not isinstance(values, list) or not values:
                raise ValueError(
                    f'the space gives {key}={values!r}: a list of values is expected.'
                )

    def __len__(self) -> int:
        count = 1
        for values in self.values.values():
            count *= len(values)
        return count

    def combinations(self) -> Iterator[Settings]:
        """All of them, the last setting changing fastest."""
        for values in itertools.product(*self.values.values()):
            yield dict(zip(self.values, values, strict=True))

    def ends(self, settings: Settings) -> tuple[str, ...]:
        """Which of these settings are the lowest or highest that the space offers.

        A setting of two values is always at an end: only those of three and more numbers
        are looked at.

        Returns:
            tuple: Such as ``('optim_wrapper.optimizer.lr, highest',)``.
        """
        found = []
        for key, values in self.values.items():
            if len(values) < 3 or not all(isinstance(v, int | float) for v in values):
                continue
            for name, end in (('lowest', min(values)), ('highest', max(values))):
                if settings.get(key) == end:
                    found.append(f'{key}, {name}')
        return tuple(found)

    def without(self, settings: Settings) -> Space:
        """Without what these settings decide, one by one or as part of a larger one."""

        def is_decided(key: str) -> bool:
            return any(f'{key}.'.startswith(f'{name}.') for name in settings)

        return Space({k: v for k, v in self.values.items() if not is_decided(k)})

    def of(self, run: Run) -> Space:
        """Without the settings that the run's config doesn't have, such as branches."""
        config = run.resolved()
        return Space({key: v for key, v in self.values.items() if _has(config, key)})


def multiplied(values: Iterable[float], factor: float) -> list[float]:
    """Values times a factor, to three digits."""
    return [float(f'{factor * value:.3g}') for value in values]


def find_space(name: str) -> Path:
    """The file that a name means: a path, or a file of ``configs/spaces``."""
    shipped = config_root() / 'spaces' / f'{name}.py'
    path = expand_home(Path(name))
    return shipped if shipped.is_file() and not path.is_file() else path


def read_space(path: Path) -> Space:
    """Read a config file with ``space = {'setting.with.dots': [values], ...}``.

    Raises:
        ValueError: If there is no such file, or no space in it.
    """
    if not path.is_file():
        raise ValueError(f'there is no space {str(path)!r}: name a file.')
    space = Config.fromfile(path).get('space')
    if not isinstance(space, dict):
        raise ValueError(
            f"{path} has no space: expected space = {{'optim_wrapper.optimizer.lr': "
            '[1e-3, 1e-2], ...}.'
        )
    return Space(dict(space))


class Sampler:
    """Which combinations are tried: all where there are few enough, else Optuna's.

    Optuna's tree-structured Parzen estimator (TPE) proposes them in generations of
    :data:`GENERATION`: the first at random, each later one from the results before it.
    All of it follows from the seed and the results, not from the order in which runs end.

    Args:
        space: What to choose from.
        trials: How many. With fewer combinations than that each is tried once.
        seed: The seed of the proposals.
    """

    def __init__(self, space: Space, trials: int, seed: int = 0) -> None:
        if trials < 1:
            raise ValueError(f'trials={trials}: at least 1 is expected.')
        self.space = space
        self.trials = min(trials, len(space))
        self.seed = seed

    def proposals(self, results: dict[int, float]) -> list[Settings]:
        """The trials of all generations whose predecessors have results.

        Args:
            results: The accuracy of each trial that has one, by its number.

        Raises:
            MissingExtraError: If Optuna is needed and isn't installed.
        """
        if self.trials == len(self.space):
            return [*self.space.combinations()]
        with extra('experiments'):
            import optuna
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        distributions = {
            key: optuna.distributions.CategoricalDistribution(range(len(values)))
            for key, values in self.space.values.items()
        }
        sampler = optuna.samplers.TPESampler(seed=self.seed, n_startup_trials=GENERATION)
        study = optuna.create_study(direction='maximize', sampler=sampler)
        found: list[Settings] = []
        while len(found) < self.trials:
            begin = len(found)
            if not all(number in results for number in range(begin)):
                break
            size = min(GENERATION, self.trials - begin)
            asked = self._ask(study, distributions, found, size)
            for number, trial in enumerate(asked, begin):
                if number in results:
                    study.tell(trial, results[number])
        return found

    def _ask(
        self, study: Any, distributions: dict, found: list[Settings], size: int
    ) -> list:
        """Ask for a generation without repetitions; they are added to ``found``."""
        trials: list[Any] = []
        while len(trials) < size:
            trial = study.ask(distributions)
            settings = {k: self.space.values[k][i] for k, i in trial.params.items()}
            if settings in found:
                study.tell(trial, state=_failed())
            else:
                found.append(settings)
                trials.append(trial)
        return trials


def _failed() -> Any:
    from optuna.trial import TrialState

    return TrialState.FAIL


def _has(config: dict[str, Any], key: str) -> bool:
    node: Any = config
    for part in key.split('.'):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict) and part in node:
            node = node[part]
        else:
            return False
    return True
