"""Registries of mmdmlora: children of mmpretrain's, in the scope ``mmdmlora``.

Under ``default_scope='mmdmlora'`` the types of mmpretrain and mmengine need no prefix;
from any other scope this package's types are written ``mmdmlora.<Name>``.
"""

from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import Registry
from mmpretrain import registry as parent

__all__ = [
    'DATASETS',
    'FUNCTIONS',
    'HOOKS',
    'METRICS',
    'MODELS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'TRANSFORMS',
]


def _child(name: str, parent_registry: Registry, location: str) -> Registry:
    return Registry(
        name, parent=parent_registry, scope='mmdmlora', locations=[location]
    )


MODELS = _child('model', parent.MODELS, 'mmdmlora.models')
DATASETS = _child('dataset', parent.DATASETS, 'mmdmlora.datasets')
TRANSFORMS = _child('transform', parent.TRANSFORMS, 'mmdmlora.datasets')
METRICS = _child('metric', parent.METRICS, 'mmdmlora.engine')
HOOKS = _child('hook', parent.HOOKS, 'mmdmlora.engine')
FUNCTIONS = _child('function', MMENGINE_FUNCTIONS, 'mmdmlora.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor',
    parent.OPTIM_WRAPPER_CONSTRUCTORS,
    'mmdmlora.engine',
)
