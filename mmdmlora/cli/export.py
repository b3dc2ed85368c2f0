"""``mmdmlora export``: write a trained classifier for other libraries and runtimes."""

from argparse import ArgumentParser, Namespace
from textwrap import indent

from mmdmlora.apis.export.run import FORMATS, LIBRARIES, export


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument('run', help="a training's folder, or a checkpoint")
    parser.add_argument('--to', required=True, choices=FORMATS, help='the format')
    parser.add_argument('--out', help='the file to write; for peft the folder')
    parser.add_argument(
        '--best', action='store_true', help="the folder's best checkpoint, not its last"
    )
    parser.add_argument(
        '--with-preprocessing',
        action='store_true',
        help='onnx, torch-export: take decoded images (uint8, N x H x W x 3, RGB, '
        "resized to the model's size) and normalise them inside",
    )
    parser.add_argument(
        '--library',
        choices=LIBRARIES,
        default='timm',
        help='peft: the library whose model the adapter is for',
    )
    parser.add_argument('--model', help='timm, peft: the name of the model in timm')
    parser.add_argument('--size', type=int, help='the side of the images in pixels')
    parser.add_argument(
        '--force', action='store_true', help='replace what an export wrote before'
    )


def run(args: Namespace) -> None:
    exported = export(
        args.run,
        args.to,
        out=args.out,
        best=args.best,
        with_preprocessing=args.with_preprocessing,
        library=args.library,
        name=args.model,
        size=args.size,
        force=args.force,
    )
    print(
        f'written: {exported.out}\nto use:\n{indent(exported.usage, "    ")}\n'
        f'largest difference from PyTorch: {exported.difference:.2g} '
        f'({exported.images} images, largest logit {exported.largest:.2g})'
    )
