"""Hooks and what else the Runner needs."""

from .adapter_monitor_hook import AdapterMonitorHook
from .branch_pruning_hook import BranchPruningHook
from .crash_safe_checkpoint_hook import CrashSafeCheckpointHook
from .epoch_seed_hook import EpochSeedHook, epoch_worker_init_fn
from .export import save_merged, stock_config
from .finite_check_hook import FiniteCheckHook
from .launch import check_amp, drop_invalid_worker_options, prepare_distributed
from .learning_scalar_hook import LearningScalarHook
from .num_class_check_hook import NumClassCheckHook
from .optim_constructor import PEFTOptimWrapperConstructor
from .plain_checkpoint_hook import PlainCheckpointHook
from .resume_check_hook import ResumeCheckHook
from .summary_hook import SummaryHook

__all__ = [
    'AdapterMonitorHook',
    'BranchPruningHook',
    'CrashSafeCheckpointHook',
    'EpochSeedHook',
    'FiniteCheckHook',
    'LearningScalarHook',
    'NumClassCheckHook',
    'PEFTOptimWrapperConstructor',
    'PlainCheckpointHook',
    'ResumeCheckHook',
    'SummaryHook',
    'check_amp',
    'drop_invalid_worker_options',
    'epoch_worker_init_fn',
    'prepare_distributed',
    'save_merged',
    'stock_config',
]
