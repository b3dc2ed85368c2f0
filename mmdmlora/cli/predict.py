"""``mmdmlora predict``: classify images with a trained model."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import ExitStack

from mmdmlora.apis.outputs import check_output
from mmdmlora.apis.prediction_files import (
    PredictionPictures,
    PredictionTable,
    expand_images,
)
from mmdmlora.apis.predictor import Predictor, Scores
from mmdmlora.io import expand_home

from .progress import progress_line


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = (
        'Ends with 1 if an image could not be read; the others are classified.'
    )
    parser.add_argument(
        'run', help='the folder of a training, or a checkpoint, also of a merged model'
    )
    parser.add_argument(
        'images', nargs='+', help="images, folders of them, or patterns such as '*.jpg'"
    )
    parser.add_argument('--topk', type=int, default=3, help='classes of an image')
    parser.add_argument('--csv', metavar='FILE', help='a .csv to write, too')
    parser.add_argument('--json', action='store_true', help='print JSON, not lines')
    parser.add_argument(
        '--pictures', metavar='DIR', help='where to write the images with their classes'
    )
    parser.add_argument(
        '--best',
        action='store_true',
        help='take the checkpoint that was best on the validation images, not the last',
    )
    parser.add_argument(
        '--config', help='the config of the training; by default that beside the run'
    )
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--device', help='by default a GPU if there is one')


def run(args: Namespace) -> None:
    images = expand_images(args.images)
    if args.csv:
        check_output(expand_home(args.csv), '--csv', [args.run, *images], ['.csv'])
    pictures = PredictionPictures(args.pictures, images) if args.pictures else None
    predictor = Predictor(
        args.run, args.best, args.config, args.topk, args.batch_size, args.device
    )
    with ExitStack() as stack:
        table = None
        if args.csv:
            stream = open(  # noqa: SIM115, the stack closes it
                expand_home(args.csv), 'w', encoding='utf-8', errors='surrogateescape'
            )
            table = PredictionTable(stack.enter_context(stream), args.topk)
        show = stack.enter_context(progress_line('Classifying'))
        num_faults = _predict(predictor, images, args.json, table, pictures, show)
    if num_faults:
        sys.exit(
            f'error: {num_faults} of {len(images)} images can not be read, see above.'
        )


def _predict(
    predictor: Predictor,
    images: list[str],
    as_json: bool,
    table: PredictionTable | None,
    pictures: PredictionPictures | None,
    show: Callable[[int, int], None],
) -> int:
    """Classify the images and write what was asked for; return how many have failed."""
    entries: list[dict] = []
    num_faults = 0

    def name_fault(image: str, fault: str) -> None:
        nonlocal num_faults
        num_faults += 1
        entries.append(dict(image=image, error=fault))
        print(_printable(f'error: the image {image!r} {fault}.'), file=sys.stderr)
        if table:
            table.add_fault(image, fault)

    for image, scores in predictor.stream(images, name_fault):
        predictions = [{'class': name, 'score': score} for name, score in scores]
        entries.append(dict(image=image, predictions=predictions))
        if not as_json:
            print(_printable(f'{image}: {_line(scores)}'))
        if table:
            table.add(image, scores)
        if pictures:
            pictures.add(image, scores)
        show(len(entries), len(images))
    if as_json:
        print(json.dumps(entries, indent=1))
    return num_faults


def _line(scores: Scores) -> str:
    return ', '.join(f'{name} {100 * score:.1f} %' for name, score in scores)


def _printable(text: str) -> str:
    """The text, with names that are no UTF-8 as escapes."""
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')
