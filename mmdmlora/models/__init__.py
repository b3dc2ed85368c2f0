"""Backbones wrapped by parameter-efficient fine-tuning methods."""

import mmdmlora.registry  # noqa: F401, loads mmpretrain before others do

from .adapter_folder import save_adapter
from .adapter_switching import disable_adapter, load_adapter, set_adapter
from .consistency_classifier import ConsistencyClassifier
from .merging import merge_model
from .methods.adapter_model import AdapterModel
from .methods.bitfit_model import BitFitModel
from .methods.dmlora_model import DMLoRAModel
from .methods.full_finetune_model import FullFinetuneModel
from .methods.linear_probe_model import LinearProbeModel
from .methods.lora_model import LoRAModel
from .methods.repadapter_model import RepAdapterModel
from .methods.vpt_model import VPTModel
from .peft_model import PEFTModel, find_wrappers
from .plain_schedules import BranchPruningSchedule, LearningScalarSchedule
from .timm_classifier import TimmClassifier
from .wrap import wrap

__all__ = [
    'AdapterModel',
    'BitFitModel',
    'BranchPruningSchedule',
    'ConsistencyClassifier',
    'DMLoRAModel',
    'FullFinetuneModel',
    'LearningScalarSchedule',
    'LinearProbeModel',
    'LoRAModel',
    'PEFTModel',
    'RepAdapterModel',
    'TimmClassifier',
    'VPTModel',
    'disable_adapter',
    'find_wrappers',
    'load_adapter',
    'merge_model',
    'save_adapter',
    'set_adapter',
    'wrap',
]
