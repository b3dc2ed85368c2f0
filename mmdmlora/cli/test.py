"""``mmdmlora test``: test a checkpoint on the test split."""

from argparse import ArgumentParser, Namespace

from mmdmlora.apis.run import test

from .config_arguments import add_config_arguments, add_log_format, read_config


def add_arguments(parser: ArgumentParser) -> None:
    add_config_arguments(parser)
    add_log_format(parser)
    parser.add_argument('checkpoint', help='a checkpoint written by training')


def run(args: Namespace) -> None:
    test(read_config(args), args.checkpoint)
