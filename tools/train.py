"""Train a model: python tools/train.py CONFIG."""

from mmdmlora.apis.cli import config_parser, read_config, user_errors
from mmdmlora.apis.run import train


def main() -> None:
    parser = config_parser('Train a model, test it at the end and merge it.')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='go on from this checkpoint, by default the last in the working directory',
    )
    parser.add_argument(
        '--amp', action='store_true', help='train in mixed precision (needs a GPU)'
    )
    args = parser.parse_args()
    with user_errors():
        config = read_config(args)
        if args.resume:
            config.resume = True
            config.load_from = None if args.resume == 'auto' else args.resume
        if args.amp:
            config.optim_wrapper.type = 'AmpOptimWrapper'
            config.optim_wrapper.setdefault('loss_scale', 'dynamic')
        train(config)


if __name__ == '__main__':
    main()
