"""Registries of mmdmlora: children of mmpretrain's, in the scope ``mmdmlora``.

Under ``default_scope='mmdmlora'`` the types of mmpretrain and mmengine need no prefix;
from any other scope this package's types are written ``mmdmlora.<Name>``. There is a
child for each of mmpretrain's registries, because a scope is looked up in all of them.

Importing this module loads mmpretrain; the first lookup loads all types of this package.
"""

from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
from mmengine.registry import Registry

from ._requirements import load_mmpretrain

parent = load_mmpretrain()


def _child(of: Registry) -> Registry:
    return Registry(
        of.name, parent=of, scope='mmdmlora', locations=['mmdmlora._everything']
    )


MODELS = _child(parent.MODELS)
BATCH_AUGMENTS = _child(parent.BATCH_AUGMENTS)
MODEL_WRAPPERS = _child(parent.MODEL_WRAPPERS)
WEIGHT_INITIALIZERS = _child(parent.WEIGHT_INITIALIZERS)

DATASETS = _child(parent.DATASETS)
DATA_SAMPLERS = _child(parent.DATA_SAMPLERS)
TRANSFORMS = _child(parent.TRANSFORMS)

EVALUATORS = _child(parent.EVALUATORS)
FUNCTIONS = _child(MMENGINE_FUNCTIONS)
HOOKS = _child(parent.HOOKS)
LOG_PROCESSORS = _child(parent.LOG_PROCESSORS)
LOOPS = _child(parent.LOOPS)
METRICS = _child(parent.METRICS)
OPTIMIZERS = _child(parent.OPTIMIZERS)
OPTIM_WRAPPERS = _child(parent.OPTIM_WRAPPERS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(parent.OPTIM_WRAPPER_CONSTRUCTORS)
PARAM_SCHEDULERS = _child(parent.PARAM_SCHEDULERS)
RUNNERS = _child(parent.RUNNERS)
RUNNER_CONSTRUCTORS = _child(parent.RUNNER_CONSTRUCTORS)
TASK_UTILS = _child(parent.TASK_UTILS)
VISBACKENDS = _child(parent.VISBACKENDS)
VISUALIZERS = _child(parent.VISUALIZERS)
