"""Pre-training of the embedded backbone on drawn pictures."""

from __future__ import annotations

import math
import time

import torch
from drawn_pictures import CLASSES, draw_batch
from mmpretrain.models.backbones import VisionTransformer
from start_values import initialise
from torch import nn
from torch.nn import functional as F
from vit_tiny import EMBED_DIMS, VIT_TINY, to_input


def pretrain(
    num_images: int,
    batch_size: int = 64,
    lr: float = 2e-3,
    weight_decay: float = 0.05,
    seed: int = 0,
    log_interval: int = 500,
) -> tuple[VisionTransformer, nn.Linear]:
    """Train a new backbone to tell the drawn classes apart.

    AdamW with a warm-up over 5 % of the steps and a cosine to zero, label smoothing 0.1,
    gradients clipped at norm 1. The pictures get harder over the first half of the
    steps: their level grows from 0.1 to 1.

    Args:
        num_images (int): How many pictures to see, each once.
        batch_size (int): Defaults to 64.
        lr (float): The highest learning rate. Defaults to 2e-3.
        weight_decay (float): Defaults to 0.05.
        seed (int): The seed of weights and pictures. Defaults to 0.
        log_interval (int): The steps between two printed lines. Defaults to 500.

    Returns:
        tuple: The backbone and its classifier, in evaluation mode, with weights rounded
        to half precision.
    """
    torch.manual_seed(seed)
    backbone, head = VisionTransformer(**VIT_TINY), nn.Linear(EMBED_DIMS, len(CLASSES))
    backbone.init_weights()
    initialise(backbone, to_input(draw_batch(range(2048), seed)[0]))
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
    num_steps = num_images // batch_size
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1, 20 * (step + 1) / num_steps)
            * (0.5 + 0.5 * math.cos(math.pi * step / num_steps))
        ),
    )
    start, num_right = time.time(), 0
    for step in range(1, num_steps + 1):
        numbers = range((step - 1) * batch_size, step * batch_size)
        level = min(1.0, 0.1 + 1.8 * step / num_steps)
        images, labels = draw_batch(numbers, seed, level)
        labels = torch.from_numpy(labels)
        logits = head(backbone(to_input(images))[0])
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        num_right += (logits.argmax(1) == labels).sum().item()
        if step % log_interval == 0:
            accuracy = 100 * num_right / (log_interval * batch_size)
            minutes, num_right = (time.time() - start) / 60, 0
            print(f'{step}/{num_steps}: {accuracy:.1f} %, {minutes:.1f} min', flush=True)
    backbone.half().float()
    backbone.eval()
    return backbone, head
