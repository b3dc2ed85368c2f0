"""Tuned settings of experiments, as data.

They were chosen on validation images; docs/embedded_task.md has the searches. A config
that is composed from its name takes them from here, over those of its bases.
"""

from __future__ import annotations

import copy


def _learning_rate(lr: float) -> dict:
    return dict(optim_wrapper=dict(optimizer=dict(lr=lr)))


_DMLORA = dict(
    method=dict(scale=10.0),
    **_learning_rate(5e-3),
    default_hooks=dict(branch_pruning=dict(interval=1 / 30, min_branches=1)),
)

# <backbone>_<task>: method: changes, as compose() takes them
TUNED: dict[str, dict[str, dict]] = {
    'vit-tiny_digits': {
        'full': _learning_rate(5e-4),
        'linear': _learning_rate(5e-2),
        'bitfit': _learning_rate(2e-2),
        'adapter': _learning_rate(2e-2),
        'vpt-shallow': _learning_rate(5e-3),
        'vpt-deep': _learning_rate(2e-2),
        'repadapter': _learning_rate(2e-2),
        'lora': _learning_rate(2e-3),
        'dmlora-fixed-scale': _DMLORA,
        'dmlora': _DMLORA,
    },
}


def tuned(method: str, experiment: str) -> dict:
    """Return the tuned settings of an experiment.

    Args:
        method (str): A file of ``configs/_base_/methods``, such as 'lora'.
        experiment (str): Backbone and task, such as 'vit-tiny_digits'.

    Returns:
        dict: The changes for :func:`~mmdmlora.apis.compose.compose`; empty where nothing
        was tuned.
    """
    return copy.deepcopy(TUNED.get(experiment, {}).get(method, {}))
