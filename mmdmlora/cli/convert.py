"""``mmdmlora convert``: write a pre-trained backbone with mmpretrain's names."""

from argparse import ArgumentParser, Namespace

from mmdmlora.apis.convert import convert_file


def add_arguments(parser: ArgumentParser) -> None:
    parser.epilog = (
        'Training takes files of other layouts directly; stock mmpretrain needs the '
        'converted one.'
    )
    parser.add_argument(
        'source', help='a file or URL: .npz, .pth, .pth.tar, .safetensors'
    )
    parser.add_argument('out', help='the file to write: .pth, .pt or .safetensors')
    parser.add_argument('--force', action='store_true', help='replace an existing file')
    parser.add_argument(
        '--key', help='the state dict to take, such as state_dict or model_ema'
    )
    parser.add_argument('--prefix', help='what stands before the names to take')


def run(args: Namespace) -> None:
    architecture = convert_file(args.source, args.out, args.force, args.key, args.prefix)
    print(f'format:       {architecture.source}\narchitecture: {architecture}')
    print(f'converted:    {args.out}')
