"""``mmdmlora merge``: fold a checkpoint's adapters into the backbone."""

from argparse import ArgumentParser, Namespace

from mmdmlora.apis.run import merge

from .config_arguments import add_config_arguments, read_config


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='a checkpoint written by training')
    parser.add_argument(
        'out',
        help='the merged weights to write: .pth or .pt, or .safetensors',
    )


def run(args: Namespace) -> None:
    config = merge(read_config(args), args.checkpoint, args.out)
    print(f'merged model: {args.out}\nits config:   {config}')
    if args.out.endswith('.safetensors'):
        print(
            'stock mmengine reads no .safetensors: build the model from the config, then '
            'model.load_state_dict(safetensors.torch.load_file(...)).'
        )
