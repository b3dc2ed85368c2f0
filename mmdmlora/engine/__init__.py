"""Hooks and what else the Runner needs.

Importing this package replaces mmengine's checkpoint loaders, for the whole process, by
ones that never run code from a file (:func:`install_safe_loaders`).
"""

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
from .safe_load import install_safe_loaders, load_checkpoint_file
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
    'install_safe_loaders',
    'load_checkpoint_file',
    'prepare_distributed',
    'save_merged',
    'stock_config',
]

install_safe_loaders()
