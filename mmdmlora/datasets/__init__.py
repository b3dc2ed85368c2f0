"""The data sets and the table of their tasks."""

import mmdmlora.registry  # noqa: F401, loads mmpretrain before others do

from .digits import Digits
from .fewshot import FewShotFGVC
from .fgvc import FGVC
from .generated import GeneratedTask
from .loading import LoadImageFromFile
from .subset import take_subset
from .tasks import (
    BENCHMARKS,
    FEWSHOT_TASKS,
    FGVC_TASKS,
    VTAB_TASKS,
    Task,
    fewshot_task,
    fgvc_task,
    find_task,
    vtab_task,
)
from .vtab import VTAB1k

__all__ = [
    'BENCHMARKS',
    'FEWSHOT_TASKS',
    'FGVC_TASKS',
    'VTAB_TASKS',
    'Digits',
    'FGVC',
    'FewShotFGVC',
    'GeneratedTask',
    'LoadImageFromFile',
    'Task',
    'VTAB1k',
    'fewshot_task',
    'fgvc_task',
    'find_task',
    'take_subset',
    'vtab_task',
]
