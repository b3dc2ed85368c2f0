"""Writing a trained classifier for other libraries and runtimes.

| file | what it does |
|---|---|
| ``run.py`` | chooses the format, writes, loads what was written and compares |
| ``classifier.py`` | the trained classifier: logits, head, preprocessing, classes |
| ``programs.py`` | ONNX and torch.export |
| ``merged.py`` | mmpretrain's checkpoint, safetensors and timm's state dict |
| ``lora.py`` | a LoRA adapter of Hugging Face PEFT |
| ``architecture.py`` | reads the architecture of mmpretrain's backbones |
| ``library_model.py`` | that architecture in another library, and where it keeps what |
| ``timm_model.py`` | builds it in timm |
| ``transformers_model.py`` | builds it in transformers |
| ``mmpretrain_model.py`` | builds it in mmpretrain |
"""
