"""From 60 photos of mixed kinds to predictions, as a new user would."""

import csv
import json
import os
import shlex

import pytest
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer
from PIL import Image

import mmdmlora
from mmdmlora.apis.prediction_files import expand_images
from mmdmlora.cli import main
from tests.photo_kinds import CLASSES, make_tree

RUN = 'work_dirs/my photos'


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """A folder with photos and a run that was trained on them."""
    folder = tmp_path_factory.mktemp('home of a user')
    make_tree(folder / 'my photos')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(['train', '--data', 'my photos', '--epochs', '15'])
    return folder


@pytest.fixture(autouse=True)
def at_home(home, monkeypatch):
    monkeypatch.chdir(home)


@pytest.fixture
def predict(capsys):
    """Run the command; return its exit message, its output and its messages."""

    def run(*args, run=RUN):
        code = None
        try:
            main(['predict', run, *map(str, args)])
        except SystemExit as ended:
            code = ended.code
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def test_the_run_is_good_and_tested(home):
    summary = json.loads((home / RUN / 'summary.json').read_text())
    assert summary['test accuracy/top1'] > 60
    assert (home / RUN / 'my photos.py').is_file()


def test_the_photos_are_checked(capsys):
    with pytest.raises(SystemExit) as ended:
        main(['check-data', 'my photos'])
    assert ended.value.code == 0
    assert '3 classes, 60 images: all is well.' in capsys.readouterr().out


def test_lines_and_numbers(predict):
    code, output, _ = predict('my photos')
    assert code is None
    lines = output.splitlines()
    assert len(lines) == 60
    right = [line for line in lines if line.split('/')[1] in line.partition(': ')[2][:18]]
    assert len(right) > 40


def test_equals_mmpretrains_inferencer(home):
    images = expand_images(['my photos'])
    stock = ImageClassificationInferencer(
        Config.fromfile(f'{RUN}/merged.py'), f'{RUN}/merged.pth', device='cpu'
    )
    for found, expected in zip(
        mmdmlora.Predictor(RUN, device='cpu')(images), stock(images), strict=True
    ):
        assert found[0][0] == expected['pred_class'] in CLASSES
        assert found[0][1] == pytest.approx(expected['pred_score'], abs=1e-5)


def test_the_files_that_are_asked_for(predict, tmp_path):
    table, pictures = tmp_path / 'a b.csv', tmp_path / 'with classes'
    images = ['my photos/*/photo 0.jpg', 'my photos/red ball/photo 4.gif']
    code, output, _ = predict(
        *images, '--topk', 2, '--json', '--csv', table, '--pictures', pictures
    )
    assert code is None
    entries = json.loads(output)
    assert [e['image'] for e in entries] == expand_images(images)
    with open(table, newline='') as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ['image', 'class 1', 'score 1', 'class 2', 'score 2', 'error']
    for row, entry in zip(rows[1:], entries, strict=True):
        first, second = entry['predictions']
        assert row[:2] == [entry['image'], first['class']] and row[5] == ''
        assert float(row[4]) == pytest.approx(second['score'], abs=1e-6)
    written = {str(p.relative_to(pictures)) for p in pictures.rglob('*') if p.is_file()}
    names = {f'{kind}/photo 0.jpg' for kind in CLASSES}
    assert written == names | {'red ball/photo 4.gif.png'}
    assert all(Image.open(pictures / name).width >= 480 for name in written)


def test_the_other_images_are_classified(predict, tmp_path):
    (tmp_path / 'bad one.jpg').write_text('<html>')
    good = 'my photos/red ball/photo 1.png'
    table = tmp_path / 'o.csv'
    code, output, errors = predict(
        tmp_path / 'bad one.jpg', good, 'none.png', '--csv', table
    )
    assert code == 'error: 2 of 3 images can not be read, see above.'
    assert output.startswith(f'{good}: ') and output.count('\n') == 1
    assert "bad one.jpg' is not an image." in errors and "'none.png' is missing" in errors
    assert {row[-1] for row in csv.reader(table.open())} == {
        'error',
        'is not an image',
        'is missing',
        '',
    }


@pytest.mark.parametrize(
    'args, message',
    [
        (('my photos', '--csv', 'o.txt'), 'must end in'),
        (('my photos', '--topk', '0'), 'topk must be a whole number above 0'),
        (('my photos', '--pictures', 'my photos'), 'is one of the images'),
        (('my photos', '--device', 'gpu'), "device='gpu' can not be used"),
        (('empty',), "the folder 'empty' has no images"),
    ],
)
def test_what_is_refused(predict, args, message):
    os.makedirs('empty', exist_ok=True)
    before = {p: os.stat(p).st_mtime_ns for p in expand_images(['my photos'])}
    code, output, _ = predict(*args)
    assert message in code and output == ''
    assert before == {p: os.stat(p).st_mtime_ns for p in expand_images(['my photos'])}


def test_the_config_trains_by_itself(home, capsys):
    """With the same images and seed it gives the same run."""
    command = shlex.split(f"train '{RUN}/repeat/my photos.py' --work-dir again")
    main(command)
    first, second = (
        json.loads((home / run / 'summary.json').read_text()) for run in (RUN, 'again')
    )
    assert first['scales'] == second['scales']
    assert first['test accuracy/top1'] == second['test accuracy/top1']


def test_names_with_brackets(tmp_path):
    (tmp_path / 'a[1].jpg').touch()
    assert expand_images([str(tmp_path / 'a[1].jpg')]) == [str(tmp_path / 'a[1].jpg')]


@pytest.mark.parametrize('epochs', [1, 2])
@pytest.mark.parametrize('method', ['dmlora', 'repadapter'])
def test_few_photos_and_epochs(tmp_path, monkeypatch, epochs, method):
    """Three photos a class are the fewest, and a run may have one epoch."""
    monkeypatch.chdir(tmp_path)
    make_tree(tmp_path / 'few', 3)
    options = ['--epochs', str(epochs), '--method', method, '--size', '44']
    main(['train', '--data', 'few', *options])
    image = str(tmp_path / 'few/red ball/photo 0.jpg')
    assert len(mmdmlora.Predictor('work_dirs/few')(image)) == 3
