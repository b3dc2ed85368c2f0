"""Prompts among a backbone's tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmpretrain.models.utils import ShiftWindowMSA, WindowMSA
from torch import Tensor, nn

from ..backbones import Stage


class Prompts(nn.Module):
    """Prompts that enter before a layer and leave before outputs are read.

    ``tokens`` is ``(num_tokens, dims)``, ``position`` the place before which they enter.
    """

    def __init__(
        self, num_tokens: int, dims: int, bound: float, position: int, drop_rate: float
    ) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.empty(num_tokens, dims).uniform_(-bound, bound))
        self.dropout = nn.Dropout(drop_rate)
        self.position = position
        self.aside: Tensor | None = None

    def attach(self, stages: list[Stage]) -> None:
        """Enter at the first of these stages and leave behind the last."""
        stages[0].layers[0].add_module('prompts', self)
        for stage in stages:
            enter = self.start if stage is stages[0] else self.resume
            leave = self.stop if stage is stages[-1] else self.pause
            stage.layers[0].register_forward_pre_hook(enter)
            stage.layers[-1].register_forward_hook(leave)
            if stage.merging is not None:
                stage.merging.register_forward_hook(self.merge)

    def start(self, layer: nn.Module, args: tuple) -> tuple:
        prompts = self.tokens.expand(args[0].shape[0], -1, -1).to(args[0])
        return self._insert(self.dropout(prompts), *args)

    def stop(self, layer: nn.Module, args: tuple, x: Tensor) -> Tensor:
        return self._remove(x)[0]

    def pause(self, layer: nn.Module, args: tuple, x: Tensor) -> Tensor:
        x, self.aside = self._remove(x)
        return x

    def merge(self, merging: nn.Module, args: tuple, output: tuple) -> None:
        copies = merging.reduction.in_features // self.aside.shape[-1]
        prompts = self.aside.repeat_interleave(copies, dim=-1)
        self.aside = merging.reduction(merging.norm(prompts))

    def resume(self, layer: nn.Module, args: tuple) -> tuple:
        prompts, self.aside = self.aside, None
        return self._insert(prompts, *args)

    def _insert(self, prompts: Tensor, x: Tensor, *args: object) -> tuple:
        before, after = x.tensor_split([self.position], dim=1)
        return torch.cat((before, prompts, after), dim=1), *args

    def _remove(self, x: Tensor) -> tuple[Tensor, Tensor]:
        ends = [self.position, self.position + len(self.tokens)]
        before, prompts, after = x.tensor_split(ends, dim=1)
        return torch.cat((before, after), dim=1), prompts


class PromptedWindows(nn.Module):
    """Window attention in which every window holds its image's prompts as well.

    Args:
        attention (WindowMSA): The attention, whose layers it runs.
        num_tokens (int): Number P of prompts, the first of an image's tokens.

    Shape:
        - x: ``(B * windows, n, C)``, and ``(B, P, C)`` prompts between :meth:`split`
          and :meth:`join`.
        - output: As x.
    """

    def __init__(self, attention: WindowMSA, num_tokens: int) -> None:
        super().__init__()
        self.original = attention
        self.num_tokens = num_tokens
        self.prompts: Tensor | None = None

    def attach(self, around: ShiftWindowMSA) -> None:
        """Take the place of the attention in ``around``."""
        around.w_msa = self
        around.register_forward_pre_hook(self.split)
        around.drop.register_forward_pre_hook(self.join)

    def split(self, layer: nn.Module, args: tuple) -> tuple:
        self.prompts, patches = args[0].tensor_split([self.num_tokens], dim=1)
        return patches, *args[1:]

    def join(self, layer: nn.Module, args: tuple) -> tuple:
        prompts, self.prompts = self.prompts, None
        return (torch.cat((prompts, *args), dim=1),)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        msa, batch = self.original, self.prompts.shape[0]
        windows = x.shape[0] // batch
        x = torch.cat((self.prompts.repeat_interleave(windows, 0), x), dim=1)
        q, k, v = (
            part.unflatten(-1, (msa.num_heads, -1)).transpose(1, 2)
            for part in msa.qkv(x).chunk(3, dim=-1)
        )
        bias = msa.relative_position_bias_table[msa.relative_position_index]
        bias = bias.permute(2, 0, 1)[None]
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(batch, 1, 1, 1)
        x = F.scaled_dot_product_attention(
            *(q, k, v),
            F.pad(bias, (self.num_tokens, 0) * 2).to(q),
            dropout_p=msa.attn_drop.p if self.training else 0.0,
            scale=msa.scale,
        )
        x = msa.proj_drop(msa.proj(x.transpose(1, 2).flatten(2)))
        prompts, patches = x.tensor_split([self.num_tokens], dim=1)
        self.prompts = prompts.unflatten(0, (batch, windows)).mean(1)
        return patches
