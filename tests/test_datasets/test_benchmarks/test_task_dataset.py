"""What the data sets of the table share: corrupt images and empty splits."""

import logging
import pickle
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from mmdmlora.apis.browse import browse
from mmdmlora.apis.compose import load_config
from mmdmlora.datasets import FGVC, FewShotFGVC, LoadImageFromFile, VTAB1k
from mmdmlora.datasets.checker import check_task, find_tasks
from tests.fgvc_trees import coop_set, flower_set, json_set, noah_set, plan
from tests.trees import make_vtab_task

PIPELINE = [{'type': 'LoadImageFromFile'}, {'type': 'PackInputs'}]
COUNTS = dict(train800=40, val200=3, train800val200=4, test=6)


@pytest.fixture
def dtd(tmp_path):
    """A task's folder; its parent is the data root."""
    return make_vtab_task(tmp_path, 'dtd', 47, COUNTS)


@pytest.fixture
def warnings(monkeypatch):
    """What the data sets warn of, but for the number of images."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    handler.addFilter(lambda x: x.levelno == logging.WARNING and 'skip' in x.msg)
    monkeypatch.setattr(MMLogger.get_current_instance(), 'handlers', [handler])
    return messages


def cut(*files):
    for file in files:
        file.write_bytes(file.read_bytes()[:-2])


def vtab(folder, split='train800', skip_corrupt=True, **kwargs):
    return VTAB1k(str(folder.parent), 'dtd', split, skip_corrupt=skip_corrupt, **kwargs)


def names(dataset):
    paths = (dataset.get_data_info(i)['img_path'] for i in range(len(dataset)))
    return [Path(path).name for path in paths]


# Corrupt images


@pytest.mark.parametrize('split', COUNTS)
@pytest.mark.parametrize('serialize_data', [True, False])
def test_corrupt_images_are_left_out_and_counted(dtd, warnings, split, serialize_data):
    files = sorted((dtd / 'images' / split).iterdir())
    cut(files[1])
    dataset = vtab(dtd, split, pipeline=PIPELINE, serialize_data=serialize_data)
    assert names(dataset) == [file.name for file in files if file != files[1]]
    assert dataset.skipped == {str(files[1]): 'is cut off'}
    assert dataset.metainfo['num_skipped'] == 1
    assert len([dataset[i] for i in range(len(dataset))]) == COUNTS[split] - 1
    (message,) = warnings
    assert f'leaves out 1 of {COUNTS[split]} images of {split}: {files[1]} is' in message
    copy = pickle.loads(pickle.dumps(dataset))
    assert names(copy) == names(dataset) and copy.metainfo == dataset.metainfo


def test_the_warning_names_the_first_ones(dtd, warnings):
    files = sorted((dtd / 'images/train800').iterdir())
    cut(*files[3:8])
    vtab(dtd)
    (message,) = warnings
    assert 'leaves out 5 of 40' in message
    named = ', '.join(f'{file} is cut off' for file in files[3:6])
    assert f'{named} and 2 others. ' in message and message.count('.jpg') == 3


def test_whole_images_are_all_kept_without_a_word(dtd, warnings):
    dataset = vtab(dtd)
    assert len(dataset) == 40 and dataset.metainfo['num_skipped'] == 0
    assert dataset.skipped == {} and not warnings


def test_by_default_nothing_is_decoded_and_nothing_left_out(dtd, monkeypatch):
    monkeypatch.setattr(LoadImageFromFile, 'load', None)
    cut(dtd / 'images/train800/000001.jpg')
    dataset = vtab(dtd, skip_corrupt=False)
    assert len(dataset) == 40 and 'num_skipped' not in dataset.metainfo


def test_lazy_data_sets_look_when_they_are_read(dtd, warnings):
    dataset = vtab(dtd, lazy_init=True)
    cut(dtd / 'images/train800/000001.jpg')
    assert not warnings
    dataset.full_init()
    assert len(dataset) == 39 and dataset.metainfo['num_skipped'] == 1
    assert len(dataset.metainfo['classes']) == 47 and len(warnings) == 1


def test_the_other_images_of_a_subset_stay(dtd):
    drawn = names(vtab(dtd, skip_corrupt=False, subset=0.5))
    cut(*(dtd / 'images/train800' / name for name in drawn[:2]))
    assert names(vtab(dtd, subset=0.5)) == drawn[2:]
    absent = next(n for n in names(vtab(dtd, skip_corrupt=False)) if n not in drawn)
    cut(dtd / 'images/train800' / absent)
    assert vtab(dtd, subset=0.5).metainfo['num_skipped'] == 2


def test_the_other_shots_stay(tmp_path):
    folder = tmp_path / 'oxford_pets'
    coop_set(folder, 'pets', plan(37, train=5, val=1, test=1))
    arguments = (str(tmp_path), 'pets', 2, 3, 'train')
    drawn = names(FewShotFGVC(*arguments))
    cut(folder / 'images' / drawn[4])
    dataset = FewShotFGVC(*arguments, skip_corrupt=True)
    assert names(dataset) == [*drawn[:4], *drawn[5:]]


def test_fgvc_leaves_out_too_and_keeps_its_labels(tmp_path):
    folder = tmp_path / 'OxfordFlowers'
    lists = json_set(folder, '', list(range(1, 103)), plan(102, train=1, val=1, test=1))
    whole = FGVC(str(tmp_path), 'flowers', 'test').get_gt_labels().tolist()
    cut(folder / list(lists['train'])[0], folder / list(lists['test'])[5])
    dataset = FGVC(str(tmp_path), 'flowers', 'test', skip_corrupt=True)
    assert dataset.get_gt_labels().tolist() == [*whole[:5], *whole[6:]]


def test_nothing_left_is_refused(dtd):
    cut(*(dtd / 'images/val200').iterdir())
    with pytest.raises(ValueError, match='3 of 3 images of val200.*Nothing is left'):
        vtab(dtd, 'val200')


def test_images_are_decoded_as_the_pipeline_decodes_them(dtd, monkeypatch):
    backends = set()
    load = LoadImageFromFile.load

    def spy(self, path):
        backends.add(self.imdecode_backend)
        return load(self, path)

    monkeypatch.setattr(LoadImageFromFile, 'load', spy)
    vtab(dtd, pipeline=[{**PIPELINE[0], 'imdecode_backend': 'pillow'}, PIPELINE[1]])
    assert backends == {'pillow'}
    vtab(dtd)
    assert backends == {'pillow', 'cv2'}


def test_what_the_system_refuses_is_not_left_out(dtd, monkeypatch):
    """A network that fails for a moment must not make the data set smaller."""
    refusal = OSError(5, 'Input/output error')
    monkeypatch.setattr(
        'mmengine.fileio.LocalBackend.get',
        lambda *args, **kwargs: (_ for _ in ()).throw(refusal),
    )
    with pytest.raises(OSError, match='Input/output error'):
        vtab(dtd)


def test_the_check_finds_what_is_left_out(dtd):
    cut(dtd / 'images/test/000001.jpg')
    (dtd / 'images/test/000002.jpg').write_bytes(b'')
    (dtd / 'images/test/000003.jpg').write_text('404')
    whole = (dtd / 'images/test/000004.jpg').read_bytes()
    (dtd / 'images/test/000005.jpg').write_bytes(whole[:-9] + bytes(9))
    (found,) = find_tasks(str(dtd.parent))
    report = next(r for r in check_task(found) if r.split == 'test')
    assert report.bad_images == vtab(dtd, 'test').skipped
    assert len(report.bad_images) == 4


def test_browsing_names_a_corrupt_image(dtd):
    file = dtd / 'images/train800val200/000002.jpg'
    cut(file)
    config = load_config('configs/linear/vit-tiny_vtab-dtd.py')
    config.train_dataloader.dataset.data_root = str(dtd.parent)
    with pytest.raises(ValueError, match='000002.jpg.*is cut off. Fetch it again'):
        browse([config])
    config.train_dataloader.dataset.skip_corrupt = True
    browse([config])


# Empty splits


def message(read):
    with pytest.raises(ValueError) as error:
        read()
    return str(error.value)


@pytest.mark.parametrize('content', ['', '\n \n\t\r\n', '\ufeff'])
def test_empty_lists_of_vtab(dtd, content):
    (dtd / 'test.txt').write_text(content)
    text = message(lambda: vtab(dtd, 'test'))
    assert f"'{dtd}/test.txt' is empty. Unpack" in text


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('content', ['', '{}', '[]', 'null'])
def test_empty_lists_of_vpt(tmp_path, split, content):
    folder = tmp_path / 'OxfordFlowers'
    json_set(folder, '', list(range(1, 103)), plan(102, train=1, val=1, test=1))
    (folder / f'{split}.json').write_text(content)
    text = message(lambda: FGVC(str(tmp_path), 'flowers', split))
    assert f'{folder}/{split}.json' in text and 'Fetch it again' in text


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_empty_lists_of_the_authors(tmp_path, split):
    folder = tmp_path / 'OxfordFlowers'
    labels = plan(102, train=1, val=1, test=1)
    flower_set(folder, {**labels, split: []})
    text = message(lambda: FGVC(str(tmp_path), 'flowers', split))
    assert str(folder) in text and 'etch the' in text
    assert split == 'train' or f'list no image of {split}. Fetch' in text


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_empty_few_shot_lists(tmp_path, split):
    labels = {**plan(37, train=2, val=1, test=1), split: []}
    noah, coop = tmp_path / 'noah/oxford_pets', tmp_path / 'coop/oxford_pets'
    noah_set(noah, 'pets', labels)
    coop_set(coop, 'pets', labels)
    text = message(lambda: FewShotFGVC(str(noah.parent), 'pets', 2, 1, split))
    assert f'{noah}/annotations/{split}_meta.list' in text and 'is empty. Unpack' in text
    text = message(lambda: FewShotFGVC(str(coop.parent), 'pets', 2, 1, split))
    assert f'{coop}/split_zhou_OxfordPets.json lists no image of {split}. Fetch' in text


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_empty_lists_of_aircraft(tmp_path, split):
    folder = tmp_path / 'fgvc_aircraft'
    coop_set(folder, 'aircraft', plan(100, train=2, val=1, test=1))
    (folder / f'images_variant_{split}.txt').write_text('\n \n')
    text = message(lambda: FewShotFGVC(str(tmp_path), 'aircraft', 2, 1, split))
    assert f'{folder}/images_variant_{split}.txt lists no image of {split}' in text


def test_the_smallest_subset_has_an_image(dtd):
    assert len(vtab(dtd, subset=1e-9)) == 1
