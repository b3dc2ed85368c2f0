"""The hooks, one a file."""

from .accumulated_gradients_hook import AccumulatedGradientsHook
from .adapter_monitor_hook import AdapterMonitorHook
from .branch_pruning_hook import BranchPruningHook
from .crash_safe_checkpoint_hook import CrashSafeCheckpointHook
from .epoch_seed_hook import EpochSeedHook
from .finite_check_hook import FiniteCheckHook
from .image_cache_hook import ImageCacheHook
from .learning_scalar_hook import LearningScalarHook
from .num_class_check_hook import NumClassCheckHook
from .plain_checkpoint_hook import PlainCheckpointHook
from .resume_check_hook import ResumeCheckHook
from .summary_hook import SummaryHook

__all__ = [
    'AccumulatedGradientsHook',
    'AdapterMonitorHook',
    'BranchPruningHook',
    'CrashSafeCheckpointHook',
    'EpochSeedHook',
    'FiniteCheckHook',
    'ImageCacheHook',
    'LearningScalarHook',
    'NumClassCheckHook',
    'PlainCheckpointHook',
    'ResumeCheckHook',
    'SummaryHook',
]
