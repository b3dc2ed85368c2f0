"""The example for mmdetection: a training step, and what its merged config builds."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.test_examples.segmentation import ROOT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('mmdet') is None, reason='mmdetection is not installed'
)
SCRIPT = """
from tests.mmcv_ops import stand_in_for_missing_ops
stand_in_for_missing_ops()
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
import mmdet.models
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdmlora.engine import stock_config
from mmdmlora.models.merging import merge_model

config = Config.fromfile('configs/examples/retinanet_convnext-t_coco.py')
channels = [8, 16, 32, 48]
config.model.backbone.module.update(
    init_cfg=None, arch=dict(depths=[1] * 4, channels=channels))
config.model.neck.in_channels = channels
init_default_scope('mmdet')
model = MODELS.build(config.model)
model.init_weights()
optim = build_optim_wrapper(model, config.optim_wrapper)
instances = InstanceData(
    bboxes=torch.tensor([[4.0, 4, 60, 60]]), labels=torch.tensor([3]))
sample = DetDataSample(gt_instances=instances, metainfo=dict(
    img_shape=(64, 64), pad_shape=(64, 64), batch_input_shape=(64, 64)))
images = torch.randn(1, 3, 64, 64)
before = [p.clone() for p in model.backbone.trainable_parameters()]
model.train()
losses = model.loss(images, [sample])
optim.update_params(sum(sum(v) for v in losses.values()))
assert any(
    not torch.equal(a, b)
    for a, b in zip(before, model.backbone.trainable_parameters())), 'nothing trained'
for parameter in model.backbone.trainable_parameters():
    torch.nn.init.normal_(parameter, std=0.1)
stock = stock_config(config)
assert 'mmdmlora' not in stock.pretty_text
assert stock.default_scope == 'mmdet'
assert stock.test_dataloader.dataset.type == 'CocoDataset'
assert stock.test_dataloader.dataset.pipeline == (
    config.test_dataloader.dataset.pipeline)
assert 'backend_args' in stock.test_dataloader.dataset.pipeline[0]
assert stock.test_evaluator.type == 'CocoMetric'
plain = MODELS.build(stock.model)
plain.load_state_dict(merge_model(model).state_dict(), strict=True)
model.eval(); plain.eval()
with torch.no_grad():
    for one, other in zip(model._forward(images), plain._forward(images)):
        for a, b in zip(one, other):
            assert (a - b).abs().max() < 1e-5 * a.abs().max()
"""


def test_a_step_and_the_merged_config():
    result = subprocess.run(
        [sys.executable, '-c', SCRIPT],
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
