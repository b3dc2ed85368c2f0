"""The complete loops of README.md and docs/plain_pytorch.md run and do what is said."""

import re
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import mmdmlora

ROOT = Path(__file__).parents[1]
# The file, and the line that builds the model.
LOOPS = {
    'timm': ('README.md', 'net = timm.create_model('),
    'transformers': ('docs/plain_pytorch.md', 'net = ViTForImageClassification('),
    'torchvision': ('docs/plain_pytorch.md', 'net = torchvision.models.convnext_tiny('),
}


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Execute a loop in a folder; return its variables."""
    file, line = LOOPS[name]
    blocks = re.findall(r'```python\n(.*?)```', (ROOT / file).read_text(), re.DOTALL)
    (code,) = (block for block in blocks if line in block)
    monkeypatch.chdir(folder)
    torch.manual_seed(0)
    scope: dict = {}
    exec(code, scope)
    return scope


def check_merged(scope: dict, fresh: nn.Module) -> None:
    """The merged model equals the wrapper and loads into the library's own class."""

    def logits(model: nn.Module) -> Tensor:
        with torch.no_grad():
            output = model.eval()(scope['images'])
        return output if isinstance(output, Tensor) else output.logits

    assert type(scope['stock']) is type(fresh)
    fresh.load_state_dict(scope['stock'].state_dict(), strict=True)
    torch.testing.assert_close(
        logits(fresh), logits(scope['model']), atol=1e-5, rtol=1e-5
    )


def test_timm(tmp_path, monkeypatch):
    scope = run('timm', tmp_path, monkeypatch)
    model, options = scope['model'], dict(img_size=56, num_classes=3)
    assert model.num_branches == 6
    fresh = timm.create_model('vit_small_patch14_dinov2', **options)
    check_merged(scope, fresh)
    state = torch.load('merged.pth', weights_only=True)
    assert list(state) == list(fresh.state_dict())
    torch.manual_seed(0)
    again = timm.create_model('vit_small_patch14_dinov2', **options)
    again = mmdmlora.wrap(
        again, method='dmlora', rank=8, num_branches=8, train_also=['head']
    )
    again.load_state_dict(torch.load('adapter.pth', weights_only=True))
    images = scope['images']
    assert torch.equal(again.eval()(images), model.eval()(images))


def test_transformers(tmp_path, monkeypatch):
    scope = run('transformers', tmp_path, monkeypatch)
    assert scope['model'].num_branches == 1
    check_merged(scope, type(scope['net']).from_pretrained('merged'))


def test_torchvision(tmp_path, monkeypatch):
    scope = run('torchvision', tmp_path, monkeypatch)
    assert scope['model'].num_branches == 3
    fresh = torchvision.models.convnext_tiny(num_classes=3)
    fresh.load_state_dict(torch.load('merged.pth', weights_only=True))
    check_merged(scope, fresh)
