"""The command line: ``mmdmlora COMMAND ...`` and ``python -m mmdmlora COMMAND ...``.

Each command is a module of this folder with two functions: ``add_arguments(parser)`` and
``run(args)``. Only the module of the command that is asked for is imported, so that help
doesn't wait for PyTorch.
"""

from __future__ import annotations

from argparse import REMAINDER, SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from importlib import import_module

from mmdmlora.version import __version__

from .errors import user_errors

COMMANDS = {
    'train': 'Train a model on a config or a folder of photos, test and merge it.',
    'test': 'Test a checkpoint on the test split.',
    'predict': 'Classify images with a trained model.',
    'merge': 'Fold adapters into the backbone; the result is a stock model.',
    'export': 'Write a trained classifier as ONNX, for timm, for PEFT and others.',
    'check-data': 'Check the data sets or the photos in a folder.',
    'convert': "Write a pre-trained backbone with mmpretrain's names.",
    'browse': "Draw samples of a config's training set after its pipeline.",
    'benchmark': 'Measure step time and memory of methods side by side.',
    'reproduce': "Run the paper's tables and figures, and report them.",
    'search': "Choose a config's settings on its validation images.",
    'report': 'Write an HTML page about one run or several.',
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        argv (Sequence[str], optional): The command and its arguments. Defaults to those
            of the process.

    Raises:
        SystemExit: With a message where the input is at fault.
    """
    chosen = _parser().parse_args(argv)
    with user_errors():
        module = import_module(f'.{chosen.command.replace("-", "_")}', __name__)
    parser = ArgumentParser(
        prog=f'mmdmlora {chosen.command}', description=COMMANDS[chosen.command]
    )
    module.add_arguments(parser)
    args = parser.parse_args(chosen.arguments)
    with user_errors():
        module.run(args)


def _parser() -> ArgumentParser:
    """The parser of the command's name; what follows the name is the command's own."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f'  {name:{width}}{text}' for name, text in COMMANDS.items()]
    parser = ArgumentParser(
        prog='mmdmlora',
        usage='mmdmlora [-h] [--version] COMMAND ...',
        description='Parameter-efficient fine-tuning for OpenMMLab.',
        epilog='\n'.join(
            ['commands:', *lines, '', 'mmdmlora COMMAND --help shows its arguments.']
        ),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=__version__)
    parser.add_argument('command', choices=COMMANDS, metavar='COMMAND', help=SUPPRESS)
    parser.add_argument('arguments', nargs=REMAINDER, metavar='...', help=SUPPRESS)
    return parser
