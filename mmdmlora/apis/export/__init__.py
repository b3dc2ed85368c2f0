"""Writing a trained classifier for other libraries and runtimes.

| file | what it does |
|---|---|
| ``run.py`` | chooses the format, writes, loads what was written and compares |
| ``classifier.py`` | the trained classifier: logits, head, preprocessing, classes |
| ``programs.py`` | ONNX and torch.export |
| ``merged.py`` | mmpretrain's checkpoint, safetensors and timm's state dict |
| ``lora.py`` | a LoRA adapter of Hugging Face PEFT |
| ``architecture.py`` | reads the architecture of mmpretrain's backbones |
| ``libraries.py`` | builds the same architecture in timm and transformers |
"""
