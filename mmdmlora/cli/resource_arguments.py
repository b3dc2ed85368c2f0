"""The arguments that the commands share which search and schedule runs."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from mmdmlora.experiments.scheduler import Resources


def add_resource_arguments(parser: ArgumentParser) -> None:
    """Add what a command that schedules runs takes."""
    group = parser.add_argument_group('where the runs go')
    group.add_argument(
        '--address', help='a Ray cluster to join: auto, or ray://HOST:PORT'
    )
    group.add_argument(
        '--cpus-per-run', type=int, default=1, help='CPU cores of a run (%(default)s)'
    )
    group.add_argument(
        '--gpus-per-run',
        type=float,
        default=0.0,
        help='GPUs of a run, or a fraction: with 0.25 four share one (%(default)s)',
    )


def add_halving_argument(parser: ArgumentParser) -> None:
    """Add what a command that searches takes."""
    parser.add_argument(
        '--no-halving',
        action='store_true',
        help='train every trial to its end, not the best third alone',
    )


def resources_of(args: Namespace) -> Resources:
    """What the arguments ask for."""
    return Resources(args.cpus_per_run, args.gpus_per_run, args.address)
