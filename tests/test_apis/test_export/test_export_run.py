"""Exports give the trained model's logits, or are refused with a reason."""

import json
import shutil

import mmpretrain
import peft
import pytest
import torch

from mmdmlora.apis.export import run as api
from mmdmlora.apis.run import merge
from mmdmlora.apis.trained_run import find_run
from tests.peft_runner import DMLORA, config
from tests.trained_runs import CLASSES, trained_run, write_run

FAMILIES = ('vit', 'swin', 'convnext', 'convnext_conv')
DINOV2 = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=96),
    img_size=32,
    patch_size=8,
    layer_scale_init_value=0.5,
)


def close(exported, bound):
    assert exported.difference <= bound * max(1, exported.largest)
    assert exported.largest > 0.5


@pytest.mark.parametrize('backbone', FAMILIES)
def test_weights_for_other_libraries(tmp_path, backbone):
    trained_run(tmp_path, backbone)
    for to in ('timm', 'mmpretrain', 'safetensors'):
        close(
            api.export(tmp_path, to, tmp_path / f'{to}{api.FORMATS[to].endings[0]}'), 1e-5
        )
    close(api.export(tmp_path, 'peft'), 1e-5)
    close(api.export(tmp_path, 'peft', library='mmpretrain'), 1e-5)
    if backbone == 'convnext_conv':
        with pytest.raises(ValueError, match='--library timm'):
            api.export(tmp_path, 'peft', library='transformers')
    else:
        close(api.export(tmp_path, 'peft', library='transformers'), 1e-4)


def test_dinov2_reads_the_mean_of_patches_in_transformers(tmp_path):
    settings = config(tmp_path, dict(DMLORA, rank=3))
    settings.model.backbone.module = DINOV2
    write_run(tmp_path, settings)
    close(api.export(tmp_path, 'timm'), 1e-5)
    close(api.export(tmp_path, 'peft'), 1e-5)
    close(api.export(tmp_path, 'peft', library='transformers'), 1e-4)


def test_parts_of_different_ranks(tmp_path):
    targets = [
        dict(type='layers.0.attn.qkv', parts=('q', 'k'), rank=1),
        dict(type='layers.1.attn.qkv', parts=('v',), rank=3),
        dict(type='layers.1.ffn.layers.1', rank=2),
    ]
    trained_run(tmp_path, 'vit', dict(DMLORA, targets=targets))
    for library in api.LIBRARIES:
        exported = api.export(tmp_path, 'peft', library=library)
        close(exported, 1e-4)
        written = json.loads((exported.out / 'adapter_config.json').read_text())
        assert len(written['target_modules']) == (4 if library == 'transformers' else 3)


def test_a_whole_model_of_timm(tmp_path):
    settings = config(tmp_path)
    settings.model = dict(
        type='mmdmlora.TimmClassifier',
        model_name='vit_tiny_patch16_224',
        num_classes=10,
        pretrained=False,
        method=dict(DMLORA),
        **dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2),
    )
    write_run(tmp_path, settings)
    close(api.export(tmp_path, 'timm'), 1e-5)
    close(api.export(tmp_path, 'peft'), 1e-5)
    for library in ('transformers', 'mmpretrain'):
        with pytest.raises(ValueError, match='--library timm'):
            api.export(tmp_path, 'peft', library=library)


@pytest.mark.parametrize('to_rgb', [True, False])
def test_a_program_of_pixels(tmp_path, to_rgb):
    preprocessor = dict(mean=[120.0, 110.0, 100.0], std=[60.0, 50.0, 40.0], to_rgb=to_rgb)
    trained_run(tmp_path, data_preprocessor=preprocessor)
    close(api.export(tmp_path, 'torch-export', with_preprocessing=True), 1e-4)


@pytest.mark.parametrize(
    'backbone', ['vit', *(pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES[1:])]
)
def test_onnx(tmp_path, backbone):
    onnx = pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    pytest.importorskip('onnxscript')
    trained_run(tmp_path, backbone)
    exported = api.export(tmp_path, 'onnx', with_preprocessing=True)
    close(exported, 1e-4)
    model = onnx.load(exported.out)
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(found['classes']) == CLASSES
    first = model.graph.input[0].type.tensor_type
    assert first.elem_type == onnx.TensorProto.UINT8
    assert first.shape.dim[0].dim_param and not first.shape.dim[0].dim_value


@pytest.mark.parametrize('method', ['VPTModel', 'AdapterModel'])
def test_methods_without_a_merged_form_are_programs_only(tmp_path, method):
    trained_run(tmp_path, wrapper=dict(type=f'mmdmlora.{method}'))
    close(api.export(tmp_path, 'torch-export'), 1e-4)
    with pytest.raises(ValueError, match='merged form|merge'):
        api.export(tmp_path, 'timm')
    with pytest.raises(ValueError, match='no low-rank adapters'):
        api.export(tmp_path, 'peft')


def test_a_merged_model_can_be_exported(tmp_path):
    trained_run(tmp_path)
    run = find_run(tmp_path)
    merge(run.read_config(), str(run.checkpoint), str(tmp_path / 'merged.pth'))
    close(api.export(tmp_path / 'merged.pth', 'timm'), 1e-5)
    with pytest.raises(ValueError, match='no low-rank adapters'):
        api.export(tmp_path / 'merged.pth', 'peft')


def test_a_difference_is_told(tmp_path, monkeypatch):
    trained_run(tmp_path)
    wrong = api.timm_logits
    monkeypatch.setattr(api, 'timm_logits', lambda *args: wrong(*args) + 1e-3)
    with pytest.raises(ValueError, match='differ .* do not use it'):
        api.export(tmp_path, 'timm')


def test_an_adapter_for_a_model_that_only_mmpretrain_has(tmp_path):
    """Its patches overlap; the adapter is loaded as a user loads it."""
    settings = config(tmp_path, dict(DMLORA, rank=3))
    settings.model.backbone.module.patch_cfg = dict(kernel_size=10, stride=8, padding=1)
    trained = write_run(tmp_path, settings)
    with pytest.raises(ValueError, match='patches overlap.*--library mmpretrain'):
        api.export(tmp_path, 'peft')
    exported = api.export(tmp_path, 'peft', library='mmpretrain')
    close(exported, 1e-5)
    base = mmpretrain.get_model(str(exported.out / 'model.py'))
    frozen = trained.backbone.bare_module().state_dict()
    base.backbone.load_state_dict(frozen, strict=True)
    adapted = peft.PeftModel.from_pretrained(base, exported.out).eval()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(adapted(images), trained(images), atol=1e-5, rtol=1e-5)


def test_other_architectures_are_refused(tmp_path):
    settings = config(tmp_path)
    settings.model.backbone.module.update(with_cls_token=False, out_type='avg_featmap')
    write_run(tmp_path, settings)
    with pytest.raises(ValueError, match='architectures differ'):
        api.export(tmp_path, 'timm')
    settings.model.backbone.module = dict(type='mmpretrain.ResNet', depth=18)
    settings.model.backbone.type = 'mmdmlora.LinearProbeModel'
    for name in ('rank', 'num_branches', 'learn_scale'):
        settings.model.backbone.pop(name)
    settings.model.neck = dict(type='mmpretrain.GlobalAveragePooling')
    settings.model.head.in_channels = 512
    write_run(tmp_path / 'resnet', settings)
    with pytest.raises(ValueError, match='no known counterpart'):
        api.export(tmp_path / 'resnet', 'timm')


@pytest.mark.parametrize(
    ('to', 'options', 'message'),
    [
        ('tflite', {}, 'no format'),
        ('timm', dict(with_preprocessing=True), 'holds weights'),
        ('timm', dict(library='transformers'), 'goes with peft'),
        ('onnx', dict(name='vit_base_patch16_224'), 'names a model of timm'),
        ('onnx', dict(out='model.pth'), 'must end in'),
        ('timm', dict(name='vit_base_patch16_clip_224'), 'no place for'),
    ],
)
def test_arguments_are_checked(tmp_path, monkeypatch, to, options, message):
    monkeypatch.chdir(tmp_path)
    trained_run(tmp_path)
    with pytest.raises(ValueError, match=message):
        api.export(tmp_path, to, **options)


def test_nothing_is_replaced_unasked(tmp_path):
    trained_run(tmp_path)
    api.export(tmp_path, 'timm')
    with pytest.raises(ValueError, match='exists'):
        api.export(tmp_path, 'timm')
    api.export(tmp_path, 'timm', force=True)
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'a.jpg').write_bytes(b'')
    with pytest.raises(ValueError, match='something else'):
        api.export(tmp_path, 'peft', tmp_path / 'photos', force=True)
    with pytest.raises(ValueError, match='which is read'):
        api.export(tmp_path, 'mmpretrain', tmp_path / 'epoch_3.pth', force=True)


def test_a_run_is_found(tmp_path):
    trained_run(tmp_path)
    assert find_run(tmp_path).checkpoint == tmp_path / 'epoch_3.pth'
    with pytest.raises(ValueError, match=r'has no best_'):
        find_run(tmp_path, best=True)
    shutil.copy(tmp_path / 'epoch_3.pth', tmp_path / 'best_accuracy_top1_epoch_2.pth')
    assert find_run(tmp_path, best=True).checkpoint.name.startswith('best_')
    (tmp_path / 'last_checkpoint').unlink()
    shutil.copy(tmp_path / 'epoch_3.pth', tmp_path / 'epoch_20.pth')
    assert find_run(tmp_path).checkpoint.name == 'epoch_20.pth'
    assert find_run(tmp_path / 'epoch_3.pth').config == tmp_path / 'experiment.py'
    for place, message in {
        'none': 'there is no',
    }.items():
        with pytest.raises(ValueError, match=message):
            find_run(tmp_path / place)
    (tmp_path / 'another.py').write_text('')
    with pytest.raises(ValueError, match='there must be one config'):
        find_run(tmp_path)
