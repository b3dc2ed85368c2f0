"""The data sets and the table of their tasks."""

import mmdmlora.registry  # noqa: F401, loads mmpretrain before others do

from .benchmarks import FGVC, FewShotFGVC, VTAB1k
from .custom import CustomDataset
from .digits import Digits
from .drawn import GeneratedTask
from .images import LoadImageFromFile
from .partial_epochs import PartialEpochBatchSampler
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

__all__ = [
    'BENCHMARKS',
    'FEWSHOT_TASKS',
    'FGVC_TASKS',
    'VTAB_TASKS',
    'CustomDataset',
    'Digits',
    'FGVC',
    'FewShotFGVC',
    'GeneratedTask',
    'LoadImageFromFile',
    'PartialEpochBatchSampler',
    'Task',
    'VTAB1k',
    'fewshot_task',
    'fgvc_task',
    'find_task',
    'take_subset',
    'vtab_task',
]
