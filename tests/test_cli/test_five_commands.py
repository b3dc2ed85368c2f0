"""The five commands of docs/own_photos.md, and what the page says they print."""

import json
import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

import mmdmlora
from mmdmlora.cli import main
from tests.photo_kinds import make_tree

PAGE = (Path(__file__).parents[2] / 'docs/own_photos.md').read_text()


def without_numbers(text: str) -> list[str]:
    """Lines with each measured number replaced: other machines round otherwise."""
    return re.sub(r'(?<=[ (])[\d.]+(e-\d+)?(?=[ ,)])', '#', text).splitlines()


def test_they_do_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_tree(tmp_path / 'photos')
    (block,) = re.findall(r'```bash\n(mmdmlora train --data photos\n.*?)```', PAGE, re.S)
    train, *others = [shlex.split(line)[1:] for line in block.splitlines()]
    assert len(others) == 4
    with redirect_stdout(StringIO()) as lines:
        main(train)
    assert len(lines.getvalue().splitlines()) <= 80
    assert max(map(len, lines.getvalue().splitlines())) <= 100

    with redirect_stdout(StringIO()) as printed:
        for command in others:
            main(command)
    shown = PAGE.split('The others print:')[1].split('```text\n')[1].split('```')[0]
    found = without_numbers(printed.getvalue())
    # The likeliest class comes first, the order of the others may differ.
    first = [re.split(r' # %', line)[0] for line in found[:2]]
    assert first == [re.split(r' # %', line)[0] for line in without_numbers(shown)[:2]]
    assert found[2:] == without_numbers(shown)[2:]

    photo = Path('photos/red ball/photo 1.png')
    session = onnxruntime.InferenceSession('work_dirs/photos/export/epoch_60.onnx')
    classes = json.loads(session.get_modelmeta().custom_metadata_map['classes'])
    pixels = np.asarray(Image.open(photo).convert('RGB').resize((32, 32)))
    (logits,) = session.run(None, {'images': pixels[None]})
    predicted = mmdmlora.Predictor('work_dirs/photos')(photo)
    assert classes[logits[0].argmax()] == predicted[0][0] == 'red ball'
