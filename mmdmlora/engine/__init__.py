"""Hooks and what else the Runner needs.

Importing this package replaces mmengine's checkpoint loaders, for the whole process, by
ones that never run code from a file (:func:`install_safe_loaders`).
"""

from .export import save_merged, stock_config
from .hooks import (
    AdapterMonitorHook,
    BranchPruningHook,
    CrashSafeCheckpointHook,
    EpochSeedHook,
    FiniteCheckHook,
    LearningScalarHook,
    NumClassCheckHook,
    PlainCheckpointHook,
    ResumeCheckHook,
    SummaryHook,
)
from .launch import check_amp, drop_invalid_worker_options, prepare_distributed
from .optim_constructor import PEFTOptimWrapperConstructor
from .safe_load import install_safe_loaders, load_checkpoint_file
from .seeding import epoch_worker_init_fn

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
