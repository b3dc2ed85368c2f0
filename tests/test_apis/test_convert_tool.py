"""The converter as a user runs it: what it says and what it writes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.runner import load_checkpoint
from safetensors.torch import load_file, save_file

from mmdmlora.apis.convert import convert_file
from mmdmlora.io import load_checkpoint_file
from tests.backbones import build, layouts, outputs

TOOL = Path(__file__).parents[2] / 'tools' / 'convert_backbone.py'


def run(*args):
    command = [sys.executable, str(TOOL), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_jax_file_becomes_a_stock_checkpoint(tmp_path):
    source, stock = build('vit')
    np.savez(tmp_path / 'ViT.npz', **layouts('vit', source)['JAX'])
    result = run(tmp_path / 'ViT.npz', tmp_path / 'new' / 'vit.pth')
    assert result.returncode == 0, result.stderr
    parameters = sum(p.numel() for p in stock.parameters())
    assert result.stdout.splitlines()[-3:] == [
        'format:       JAX ViT',
        'architecture: VisionTransformer, embed dim 24, depth 3, patch size 8, '
        f'{parameters:,} parameters',
        f'converted:    {tmp_path}/new/vit.pth',
    ]
    load_checkpoint(stock, str(tmp_path / 'new' / 'vit.pth'), strict=True)
    theirs, ours = outputs(source, stock, 'vit')
    assert (theirs - ours).abs().max() < 1e-5
    assert [p.name for p in (tmp_path / 'new').iterdir()] == ['vit.pth']

    again = run(tmp_path / 'ViT.npz', tmp_path / 'new' / 'vit.pth')
    assert again.returncode == 1
    assert 'Traceback' not in again.stderr
    assert again.stderr.startswith('error: ')
    assert 'exists: name another file, or use --force' in again.stderr


def test_safetensors_in_and_out(tmp_path):
    source, stock = build('swin')
    state = {k: v.half() for k, v in source.state_dict().items()}
    save_file(state, tmp_path / 'swin.safetensors')
    out = tmp_path / 'out.safetensors'
    out.write_text('old')
    arch = convert_file(str(tmp_path / 'swin.safetensors'), out, force=True)
    assert arch.source == 'timm Swin'
    written = load_file(out)
    assert written['stages.0.downsample.reduction.weight'].dtype == torch.float16
    stock.load_state_dict(written, strict=True)


@pytest.mark.parametrize('out', ['out.npz', 'out'])
def test_other_endings_are_refused(tmp_path, out):
    with pytest.raises(ValueError, match=r'must end in one of \['):
        convert_file('none.pth', tmp_path / out)


def faulty(folder: Path, kind: str) -> Path:
    path = folder / f'{kind}.npz'
    arrays = layouts('vit', build('vit')[0])['JAX']
    if kind == 'pickled':
        arrays['cls'] = np.array([print, 1], dtype=object)
    if kind == 'unknown':
        arrays = {'conv1/kernel': np.zeros(3)}
    if kind == 'incomplete':
        del arrays['Transformer/encoderblock_1/LayerNorm_0/scale']
    if kind != 'missing':
        np.savez(path, **arrays)
    if kind == 'cut':
        path.write_bytes(path.read_bytes()[:-3000])
    if kind == 'text':
        path.write_text('<html>404</html>')
    return path


MESSAGES = dict(
    missing='there is no file',
    cut='cut off or damaged',
    text='cut off or damaged',
    pickled=r'refused, because the array .cls\.npy. holds Python objects',
    unknown=r'names are unknown.*conv1/kernel',
    incomplete=r'incomplete.*layers\.1\.ln1\.weight',
)


@pytest.mark.parametrize('kind', MESSAGES)
def test_a_faulty_source_leaves_the_old_file(tmp_path, kind):
    out = tmp_path / 'out.pth'
    out.write_text('old')
    with pytest.raises(ValueError, match=MESSAGES[kind]):
        convert_file(str(faulty(tmp_path, kind)), out, force=True)
    assert out.read_text() == 'old'


def test_a_fault_ends_with_a_message(tmp_path):
    result = run(faulty(tmp_path, 'cut'), tmp_path / 'out.pth')
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    assert result.stderr.startswith('error: ')
    assert 'cut.npz' in result.stderr and 'cut off or damaged' in result.stderr
    assert not (tmp_path / 'out.pth').exists()


def test_npz_arrays_become_tensors(tmp_path):
    np.savez(tmp_path / 'a.npz', x=np.arange(3.0), y=np.ones((2, 2), np.float16))
    loaded = load_checkpoint_file(tmp_path / 'a.npz')
    assert loaded.keys() == {'x', 'y'}
    assert torch.equal(loaded['x'], torch.arange(3.0, dtype=torch.float64))
    assert loaded['y'].dtype == torch.float16


@pytest.mark.parametrize('how', ['itself', 'symlink', 'hard link', 'relative'])
def test_the_source_is_no_target(tmp_path, monkeypatch, how):
    source, out = tmp_path / 'a.pth', tmp_path / 'b.pth'
    torch.save(build('vit')[0].state_dict(), source)
    before = source.read_bytes()
    if how == 'symlink':
        out.symlink_to(source)
    elif how == 'hard link':
        out.hardlink_to(source)
    else:
        monkeypatch.chdir(tmp_path)
        out = source if how == 'itself' else Path('../') / tmp_path.name / 'a.pth'
    with pytest.raises(ValueError, match='which is read: it would be lost'):
        convert_file(str(source), out, force=True)
    assert source.read_bytes() == before


def test_the_average_is_converted_unless_told(tmp_path):
    state = build('vit')[0].state_dict()
    raw = {k: v + 1 for k, v in state.items()}
    torch.save(dict(model=raw, model_ema=state), tmp_path / 'a.pth')
    for name, options, amount in (('b', [], 0), ('c', ['--key', 'model'], 1)):
        out = tmp_path / f'{name}.pt'
        result = run(tmp_path / 'a.pth', out, *options)
        assert result.returncode == 0, result.stderr
        written = torch.load(out, weights_only=True)['state_dict']
        assert torch.equal(written['cls_token'], state['cls_token'] + amount)


def test_both_files_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    source, _ = build('swin')
    save_file(source.state_dict(), tmp_path / 'swin.safetensors')
    convert_file('~/swin.safetensors', '~/out.pth')
    assert (tmp_path / 'out.pth').is_file()
    with pytest.raises(ValueError, match='exists'):
        convert_file('~/swin.safetensors', '~/out.pth')
