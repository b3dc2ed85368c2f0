"""Using a trained run on images: which model, which images, which numbers."""

import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer
from PIL import Image

import mmdmlora
from mmdmlora.apis.compose import load_config
from mmdmlora.apis.locations import find_config
from mmdmlora.apis.run import test as run_test
from mmdmlora.apis.run import train
from mmdmlora.datasets import Digits
from tests.photo_kinds import KINDS, draw, write_kind


def trained(folder, name='dmlora/vit-tiny_digits', **options):
    config = load_config(find_config(name))
    config.work_dir = str(folder)
    short = {
        'train_cfg.max_epochs': 4,
        'train_cfg.val_interval': 2,
        'train_dataloader.num_batch_per_epoch': 2,
    }
    config.merge_from_dict({**short, **options})
    train(config)
    return folder


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp('runs') / 'a run')


@pytest.fixture(scope='module')
def arrays():
    dataset = Digits('test', serialize_data=False)
    return [dataset.get_data_info(i)['img'] for i in range(20)]


@pytest.fixture
def files(tmp_path):
    rng = np.random.RandomState(0)
    paths = [tmp_path / f'a b {kind}.{kind}' for kind in KINDS]
    for path in paths:
        write_kind(draw('red ball', rng), path)
    return [str(path) for path in paths]


def check_equal(found, expected):
    for ours, stock in zip(found, expected, strict=True):
        assert ours[0][0] == stock['pred_class']
        assert ours[0][1] == pytest.approx(stock['pred_score'], abs=1e-5)


@pytest.mark.parametrize('kind', ['arrays', 'files'])
def test_equals_mmpretrains_inferencer_for_the_merged_model(run, request, kind):
    images = request.getfixturevalue(kind)
    stock = ImageClassificationInferencer(
        Config.fromfile(run / 'merged.py'), str(run / 'merged.pth'), device='cpu'
    )
    expected = stock(images, batch_size=4)
    for source in (run, run / 'epoch_4.pth', run / 'merged.pth'):
        check_equal(mmdmlora.Predictor(source, device='cpu')(images), expected)


def test_the_shares_are_those_of_a_test(run, arrays):
    predictor = mmdmlora.Predictor(run, topk=1, batch_size=100)
    dataset = Digits('test', serialize_data=False)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    found = predictor([info['img'] for info in infos])
    right = sum(f[0][0] == str(i['gt_label']) for f, i in zip(found, infos, strict=True))
    config = Config.fromfile(run / 'vit-tiny_digits.py')
    tested = run_test(config, str(run / 'epoch_4.pth'))['accuracy/top1']
    assert 100 * right / len(infos) == pytest.approx(tested)
    # The config that the test has written isn't taken for the training's.
    assert (run / 'vit-tiny_digits_test.py').is_file()
    assert mmdmlora.Predictor(run)(arrays[:2]) is not None


def test_one_image_or_several(run, arrays, files):
    predictor = mmdmlora.Predictor(run, batch_size=3)
    one = predictor(arrays[0])
    assert [type(part) for part in one[0]] == [str, float] and len(one) == 3
    several = predictor(arrays)
    assert [x[0][0] for x in several] == [predictor(a)[0][0] for a in arrays]
    for same in (tuple(arrays), (a for a in arrays), np.stack(arrays)):
        assert predictor(same) == several
    assert predictor([]) == []
    assert predictor(arrays[0][..., 0]) == one  # grey
    blue_first = np.asarray(Image.open(files[1]).convert('RGB'))[..., ::-1]
    pictures = [files[1], Image.open(files[1]), blue_first]
    assert len({str(predictor(picture)) for picture in pictures}) == 1


def test_scores_are_sorted_and_sum_to_one(run, arrays):
    scores = [score for _, score in mmdmlora.Predictor(run, topk=99)(arrays[0])]
    assert len(scores) == 10 and scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1)


def test_images_that_can_not_be_read(run, files, arrays, tmp_path):
    (tmp_path / 'cut.jpg').write_bytes((tmp_path / 'a b jpg.jpg').read_bytes()[:-9])
    cut, none = str(tmp_path / 'cut.jpg'), 'none.png'
    predictor = mmdmlora.Predictor(run, batch_size=2)
    with pytest.raises(ValueError, match="the image '.*cut.jpg' is cut off"):
        predictor([files[0], cut])
    faults = {}
    images = [cut, none, str(tmp_path), *files]
    found = [image for image, _ in predictor.stream(images, faults.__setitem__)]
    assert found == files
    assert list(faults.values()) == ['is cut off', 'is missing', 'is a folder']


@pytest.mark.parametrize(
    'image, message',
    [
        (np.zeros((8, 8, 3)), 'type uint8, got float64'),
        (np.zeros((8, 8, 4), np.uint8), r'shape \(H, W, 3\), got \(8, 8, 4\)'),
        (np.zeros((0, 8, 3), np.uint8), 'shape'),
        ([3], 'must be a path or an array of type uint8, got int'),
    ],
)
def test_what_is_no_image(run, image, message):
    with pytest.raises(ValueError, match=message):
        mmdmlora.Predictor(run)(image)


def test_last_or_best(run, arrays):
    (best,) = run.glob('best_*.pth')
    last, chosen, named = (
        mmdmlora.Predictor(*args)(arrays) for args in ((run,), (run, True), (best,))
    )
    assert chosen == named
    assert (best.name == 'best_accuracy_top1_epoch_4.pth') == (chosen == last)


def test_a_moved_run(run, arrays, tmp_path):
    moved = tmp_path / 'moved run'
    shutil.copytree(run, moved)
    assert mmdmlora.Predictor(moved)(arrays) == mmdmlora.Predictor(run)(arrays)


def test_which_config(run, arrays, tmp_path):
    shutil.copytree(run, tmp_path / 'run')
    own = tmp_path / 'run/vit-tiny_digits.py'
    shutil.copy(own, tmp_path / 'run/other.py')
    with pytest.raises(ValueError, match='one config beside.*other.py.*--config FILE'):
        mmdmlora.Predictor(tmp_path / 'run')
    named = mmdmlora.Predictor(tmp_path / 'run', config=own)
    assert named(arrays) == mmdmlora.Predictor(run)(arrays)
    with pytest.raises(ValueError, match='does not fit the config'):
        mmdmlora.Predictor(run, config=find_config('lora/vit-tiny_digits'))


def test_what_is_no_run(run, tmp_path):
    with pytest.raises(ValueError, match='there is no run'):
        mmdmlora.Predictor(tmp_path / 'none')
    with pytest.raises(ValueError, match='holds no checkpoint of a training'):
        mmdmlora.Predictor(tmp_path)
    with pytest.raises(ValueError, match='has no best_'):
        mmdmlora.Predictor(tmp_path, best=True)
    shutil.copy(run / 'epoch_4.pth', tmp_path)
    with pytest.raises(ValueError, match='one config beside .*got none'):
        mmdmlora.Predictor(tmp_path / 'epoch_4.pth')


@pytest.mark.parametrize('setting', [dict(topk=0), dict(batch_size=0), dict(topk=1.5)])
def test_numbers(run, setting):
    with pytest.raises(ValueError, match='must be a whole number above 0'):
        mmdmlora.Predictor(run, **setting)


def test_devices(run):
    with pytest.raises(ValueError, match="device='cuda:77' can not be used"):
        mmdmlora.Predictor(run, device='cuda:77')


@pytest.mark.parametrize(
    'name', ['vpt-deep/vit-tiny_digits', 'repadapter/vit-tiny_generated-count']
)
def test_other_methods_and_tasks(tmp_path, arrays, name):
    """VPT can't be folded: it predicts as it is."""
    folder = trained(tmp_path / 'run', name)
    predictor = mmdmlora.Predictor(folder)
    config = load_config(find_config(name))
    assert len(predictor.classes) == config.num_classes
    assert len(predictor(arrays)) == len(arrays)


def test_the_random_numbers_of_the_program_stay(run):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    mmdmlora.Predictor(run)
    assert torch.equal(torch.rand(3), expected)
