"""From a folder of photos to a config: what is written, and what is refused."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdmlora.apis.own_photos import prepare_photos
from mmdmlora.apis.photo_config import PhotoSettings
from mmdmlora.cli.photo_arguments import check_photo_arguments
from mmdmlora.cli.train import ArgumentParser, add_arguments
from tests.photo_kinds import make_tree
from tests.photos import write_photo


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_tree(tmp_path / "it's my photos", 4)


def config_of(photos, **settings):
    file, _ = prepare_photos(photos, PhotoSettings(**settings))
    return Config.fromfile(file)


def test_the_config_is_whole(photos, tmp_path):
    file, folder = prepare_photos(photos, PhotoSettings())
    assert str(folder) == "work_dirs/it's my photos"
    assert file == folder / "repeat/it's my photos.py"
    config = Config.fromfile(file)
    assert config.model.head.num_classes == 3
    assert config.train_cfg.max_epochs == 60
    assert config.train_dataloader.batch_size == 1  # of 6
    steps = {step['type']: step for step in config.test_dataloader.dataset.pipeline}
    assert steps['ResizeEdge']['scale'] == 36 and steps['CenterCrop']['crop_size'] == 32
    for name, count in dict(train=6, val=3, test=3).items():
        dataset = config[f'{name}_dataloader'].dataset
        assert dataset.data_root == str(photos)
        assert len(Path(dataset.ann_file).read_text().splitlines()) == count
    lists = {p.name for p in file.parent.iterdir()}
    assert lists == {file.name, 'classes.txt', 'train.txt', 'val.txt', 'test.txt'}
    assert len(file.read_text().splitlines()) < 60


def test_size_and_weights(photos, tmp_path):
    (tmp_path / 'x.pth').touch()
    config = config_of(photos, backbone='dinov2-s14', size=56, weights='x.pth')
    backbone = config.model.backbone.module
    assert backbone.img_size == 56 and config.input_size == 56
    assert backbone.init_cfg == dict(
        type='Pretrained', checkpoint=str(tmp_path / 'x.pth')
    )
    config = config_of(photos, backbone='convnext-b', size=64, weights='x.pth')
    assert 'img_size' not in config.model.backbone.module and config.input_size == 64


@pytest.mark.parametrize(
    'name, is_fixed', [('vit_tiny_patch16_224', True), ('convnext_atto', False)]
)
def test_models_of_timm(photos, tmp_path, name, is_fixed):
    pytest.importorskip('timm')
    (tmp_path / 'x.pth').touch()
    config = config_of(photos, backbone=f'timm/{name}', size=64, weights='x.pth')
    assert config.model.num_classes == 3 and config.input_size == 64
    assert config.model.get('img_size') == (64 if is_fixed else None)
    assert config.model.init_cfg.checkpoint == str(tmp_path / 'x.pth')


@pytest.mark.parametrize('epochs, count', [(1, 1), (19, 1), (20, 2), (60, 2)])
def test_the_warm_up_fits_the_run(photos, epochs, count):
    schedule = config_of(photos, epochs=epochs).param_scheduler
    assert len(schedule) == count
    assert schedule[-1].begin == epochs // 20 < epochs


def test_a_second_run_gets_a_folder_of_its_own(photos):
    folders = [prepare_photos(photos, PhotoSettings())[1].name for _ in range(3)]
    assert folders == ["it's my photos", "it's my photos-2", "it's my photos-3"]
    with pytest.raises(ValueError, match='is not empty: the results in it could be lost'):
        prepare_photos(photos, PhotoSettings(), "work_dirs/it's my photos")
    _, folder = prepare_photos(photos, PhotoSettings(), 'elsewhere')
    assert folder.name == 'elsewhere'


def test_the_lists_outlast_new_photos(photos):
    file, _ = prepare_photos(photos, PhotoSettings())
    before = (file.parent / 'test.txt').read_text()
    write_photo(photos / 'red ball/new.jpg', 9)
    prepare_photos(photos, PhotoSettings())
    assert (file.parent / 'test.txt').read_text() == before


def test_damaged_photos(photos, tmp_path):
    (photos / 'red ball/photo 0.jpg').write_bytes(b'')
    with pytest.raises(ValueError, match='is empty: .*photo 0.jpg') as refused:
        prepare_photos(photos, PhotoSettings())
    assert '--skip-corrupt' in str(refused.value)
    assert not (tmp_path / 'work_dirs').exists()
    file, _ = prepare_photos(photos, PhotoSettings(), skip_corrupt=True)
    lists = ''.join(p.read_text() for p in file.parent.glob('*.txt'))
    assert 'red ball/photo 0.jpg' not in lists and 'red ball/photo 1.png' in lists


@pytest.mark.parametrize(
    'settings, message',
    [
        (
            dict(backbone='vit-huge'),
            "no backbone is named 'vit-huge'. Known are: .*vit-b",
        ),
        (dict(method='dora'), "no method is named 'dora'. Known are: .*dmlora"),
        (dict(size=0), '--size must be at least 8, got 0'),
        (dict(epochs=0), '--epochs must be at least 1, got 0'),
        (dict(backbone='vit-b16'), "'checkpoints/vit-b16_in21k.pth': put it there"),
        (dict(weights='none.pth'), 'none.pth'),
        (dict(backbone='timm/vit_tinny'), "timm has no model 'vit_tinny'"),
    ],
)
def test_wrong_settings_write_nothing(photos, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        prepare_photos(photos, PhotoSettings(**settings))
    assert not (tmp_path / 'work_dirs').exists()


@pytest.mark.parametrize(
    'line, message',
    [
        ('', 'name a config, or a folder of photos'),
        ('a.py --data b', "name either a config, got 'a.py', or --data b"),
        ('a.py --backbone vit-tiny', '--backbone must stand beside --data'),
        ('a.py --config-only --size 9', '--size, --config-only must stand beside'),
        ('--data b --resume', '--resume needs the config'),
        ('--data b --launcher pytorch', 'write it with --config-only'),
        ('--data b --data-root c', 'leave it out'),
    ],
)
def test_arguments_that_do_not_go_together(line, message):
    parser = ArgumentParser()
    add_arguments(parser)
    with pytest.raises(ValueError, match=message):
        check_photo_arguments(parser.parse_args(line.split()))
