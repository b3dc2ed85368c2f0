"""The hooks, one a file."""

from .accumulated_gradients_hook import AccumulatedGradientsHook
from .adapter_monitor_hook import AdapterMonitorHook
from .branch_pruning_hook import BranchPruningHook
from .compile_hook import CompileHook
from .console_hook import ConsoleHook
from .crash_safe_checkpoint_hook import CrashSafeCheckpointHook
from .deferred_info_hook import DeferredInfoHook
from .epoch_seed_hook import EpochSeedHook
from .finite_check_hook import FiniteCheckHook
from .image_cache_hook import ImageCacheHook
from .learning_scalar_hook import LearningScalarHook
from .merged_evaluation_hook import MergedEvaluationHook
from .num_class_check_hook import NumClassCheckHook
from .plain_checkpoint_hook import PlainCheckpointHook
from .resume_check_hook import ResumeCheckHook
from .summary_hook import SummaryHook

__all__ = [
    'AccumulatedGradientsHook',
    'AdapterMonitorHook',
    'BranchPruningHook',
    'CompileHook',
    'ConsoleHook',
    'CrashSafeCheckpointHook',
    'DeferredInfoHook',
    'EpochSeedHook',
    'FiniteCheckHook',
    'ImageCacheHook',
    'LearningScalarHook',
    'MergedEvaluationHook',
    'NumClassCheckHook',
    'PlainCheckpointHook',
    'ResumeCheckHook',
    'SummaryHook',
]
