"""Hooks and what else the Runner needs."""

import mmdmlora.registry  # noqa: F401, loads mmpretrain before others do

from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .export import save_merged, stock_config
from .freed_memory import keep_freed_memory
from .hooks import (
    AccumulatedGradientsHook,
    AdapterMonitorHook,
    BranchPruningHook,
    CompileHook,
    ConsoleHook,
    CrashSafeCheckpointHook,
    DeferredInfoHook,
    EpochSeedHook,
    FiniteCheckHook,
    ImageCacheHook,
    LearningScalarHook,
    MergedEvaluationHook,
    NumClassCheckHook,
    PlainCheckpointHook,
    ResumeCheckHook,
    SummaryHook,
)
from .iter_loop import ResumableIterBasedTrainLoop
from .launch import (
    check_amp,
    drop_invalid_worker_options,
    prepare_distributed,
    use_amp,
)
from .optim_constructor import PEFTOptimWrapperConstructor
from .required_hooks import required_hooks
from .seeding import epoch_worker_init_fn

__all__ = [
    'AccumulatedGradientsHook',
    'AdapterMonitorHook',
    'BFloat16OptimWrapper',
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
    'PEFTOptimWrapperConstructor',
    'PlainCheckpointHook',
    'ResumableIterBasedTrainLoop',
    'ResumeCheckHook',
    'SummaryHook',
    'check_amp',
    'drop_invalid_worker_options',
    'epoch_worker_init_fn',
    'keep_freed_memory',
    'prepare_distributed',
    'required_hooks',
    'save_merged',
    'stock_config',
    'use_amp',
]
