"""Convert a pre-trained backbone: python tools/convert_backbone.py SRC DST."""

from argparse import ArgumentParser

from mmdmlora.apis.cli import user_errors
from mmdmlora.apis.convert import convert_file


def main() -> None:
    parser = ArgumentParser(
        description="Write a pre-trained backbone with mmpretrain's names. Training "
        'takes such files directly; stock mmpretrain needs the converted one.'
    )
    parser.add_argument(
        'source', help='a file or URL: .npz, .pth, .pth.tar, .safetensors'
    )
    parser.add_argument('out', help='the file to write: .pth or .safetensors')
    parser.add_argument('--force', action='store_true', help='replace an existing file')
    args = parser.parse_args()
    with user_errors():
        architecture = convert_file(args.source, args.out, args.force)
        print(f'format:       {architecture.source}\narchitecture: {architecture}')
        print(f'converted:    {args.out}')


if __name__ == '__main__':
    main()
