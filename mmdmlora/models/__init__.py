"""Backbones wrapped by parameter-efficient fine-tuning methods."""

import mmdmlora.registry  # noqa: F401, loads mmpretrain before others do

from .adapter_model import AdapterModel
from .bitfit_model import BitFitModel
from .dmlora_model import DMLoRAModel
from .full_finetune_model import FullFinetuneModel
from .linear_probe_model import LinearProbeModel
from .lora_model import LoRAModel
from .merging import merge_model
from .peft_model import PEFTModel, find_wrappers
from .repadapter_model import RepAdapterModel
from .vpt_model import VPTModel

__all__ = [
    'AdapterModel',
    'BitFitModel',
    'DMLoRAModel',
    'FullFinetuneModel',
    'LinearProbeModel',
    'LoRAModel',
    'PEFTModel',
    'RepAdapterModel',
    'VPTModel',
    'find_wrappers',
    'merge_model',
]
