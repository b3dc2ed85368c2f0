"""Merge a checkpoint: python tools/merge.py CONFIG CHECKPOINT OUT."""

from mmdmlora.apis.cli import config_parser, read_config, user_errors
from mmdmlora.apis.run import merge


def main() -> None:
    parser = config_parser('Fold adapters into the backbone; the result is stock.')
    parser.add_argument('checkpoint', help='a checkpoint written by training')
    parser.add_argument('out', help='the merged checkpoint to write, e.g. merged.pth')
    args = parser.parse_args()
    with user_errors():
        config = merge(read_config(args), args.checkpoint, args.out)
        print(f'merged model: {args.out}\nits config:   {config}')


if __name__ == '__main__':
    main()
