"""Test a checkpoint: python tools/test.py CONFIG CHECKPOINT."""

from mmdmlora.apis.cli import config_parser, read_config, user_errors
from mmdmlora.apis.run import test


def main() -> None:
    parser = config_parser('Test a checkpoint on the test split.')
    parser.add_argument('checkpoint', help='a checkpoint written by training')
    args = parser.parse_args()
    with user_errors():
        test(read_config(args), args.checkpoint)


if __name__ == '__main__':
    main()
