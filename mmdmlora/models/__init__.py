"""Backbones wrapped by parameter-efficient fine-tuning methods."""

from .dmlora_model import DMLoRAModel
from .linear_probe_model import LinearProbeModel
from .lora_model import LoRAModel
from .merging import merge_model
from .peft_model import PEFTModel, find_wrappers

__all__ = [
    'DMLoRAModel',
    'LinearProbeModel',
    'LoRAModel',
    'PEFTModel',
    'find_wrappers',
    'merge_model',
]
