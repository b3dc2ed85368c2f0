"""A classifier whose loss asks two draws to agree."""

from __future__ import annotations

from typing import Any

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.models.heads import ClsHead
from mmpretrain.structures import DataSample
from torch import Tensor

from mmdmlora.registry import MODELS

from .argument_checks import is_scale
from .methods.dmlora_model import DMLoRAModel
from .plain_schedules import find_of_kind


@MODELS.register_module()
class ConsistencyClassifier(ImageClassifier):
    r"""mmpretrain's image classifier with a consistency term between two draws.

    In training each batch passes through the backbone twice, each time with branches of
    its own draw. With the class distributions p and q of the two,

    .. math::
        L = \tfrac12 (L_p + L_q) + \lambda\, \tfrac12
        \big(\mathrm{KL}(p \| q) + \mathrm{KL}(q \| p)\big),

    where :math:`L_p, L_q` are the head's losses and the divergences are means over the
    images. Both distributions get a gradient. The rest is as in ``ImageClassifier``, and
    its merged form is one.

    Args:
        consistency (float): The weight :math:`\lambda`. Defaults to 1.
        **kwargs: Arguments of ``ImageClassifier``. The backbone holds a
            :class:`~mmdmlora.models.DMLoRAModel` with several branches, the head is one
            for single labels (``ClsHead``).

    Raises:
        ValueError: If ``consistency`` is no positive number, no branch is drawn in the
            backbone, or the head is of another kind.

    Note:
        - The losses in the log: ``loss_cls``, the mean of the head's two, and
          ``loss_consistency``, with its weight; ``loss`` is their sum. What else the head
          returns (``cal_acc``) is that of the first draw.
        - Each of the two forwards is a step of the draws, so a training step counts two
          and takes about twice the time. Inside of ``fixed_draws()`` both use the same
          branches, and the term is zero but for dropout; so it is once pruning has left
          one branch.

    Source:
        AdaMix (`arXiv:2205.12410 <https://arxiv.org/abs/2205.12410>`_), consistency
        regularisation. The mean of the head's two losses is this project's choice.
    """

    def __init__(self, *, consistency: float = 1.0, **kwargs: Any) -> None:
        if isinstance(consistency, bool) or not is_scale(consistency):
            raise ValueError(
                f'consistency={consistency!r} must be a number above 0, such as 1.0. '
                'Without the term use ImageClassifier.'
            )
        super().__init__(**kwargs)
        self.consistency = consistency
        wrappers = find_of_kind(self.backbone, DMLoRAModel)
        if all(wrapper.total_branches == 1 for wrapper in wrappers):
            raise ValueError(
                f'consistency={consistency} compares two draws of branches, but '
                f'{type(self.backbone).__name__} draws none: wrap the backbone with '
                'DMLoRAModel and num_branches above 1, or use ImageClassifier.'
            )
        if not isinstance(self.head, ClsHead):
            raise ValueError(
                f'consistency={consistency} compares distributions over classes, which '
                f'a {type(self.head).__name__} does not give: use a head for single '
                'labels, such as LinearClsHead.'
            )

    def loss(self, inputs: Tensor, data_samples: list[DataSample]) -> dict[str, Any]:
        """The losses of a batch.

        Args:
            inputs: Images, ``(N, C, H, W)``.
            data_samples: Their labels.

        Returns:
            dict[str, Any]: ``loss_cls`` and ``loss_consistency``, each ``()``, and what
            else the head returns.
        """
        draws = [self.extract_feat(inputs) for _ in range(2)]
        first, second = (self.head.loss(features, data_samples) for features in draws)
        term = symmetric_divergence(*map(self.head, draws))
        losses = dict(first)
        return dict(
            loss_cls=(losses.pop('loss') + second['loss']) / 2,
            loss_consistency=self.consistency * term,
            **losses,
        )


def symmetric_divergence(scores: Tensor, others: Tensor) -> Tensor:
    r"""The mean of both Kullback-Leibler divergences between class distributions.

    .. math::
        \tfrac12 \big(\mathrm{KL}(p \| q) + \mathrm{KL}(q \| p)\big)
        = \tfrac12 \sum_c (p_c - q_c) (\log p_c - \log q_c)

    Args:
        scores: Logits of p, ``(N, classes)``.
        others: Logits of q, ``(N, classes)``.

    Returns:
        Tensor: The mean over the images, ``()``, in single precision at least.
    """
    dtype = torch.promote_types(scores.dtype, torch.float32)
    log_p, log_q = (logits.to(dtype).log_softmax(1) for logits in (scores, others))
    return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1).mean() / 2
