"""LoRA and DMLoRA on what mmpretrain and timm offer."""
