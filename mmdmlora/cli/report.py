"""``mmdmlora report``: one HTML page about one run or several."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mmdmlora.apis.outputs import check_output
from mmdmlora.apis.run_report import report
from mmdmlora.io import expand_home


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument('runs', nargs='+', metavar='RUN', help='working directories')
    parser.add_argument(
        '--out',
        help='the page to write; by default report.html, in the working directory of a '
        'single run or else here',
    )
    parser.add_argument(
        '--split',
        choices=['val', 'test'],
        help='the images for confusion matrix and mistakes; by default val, or test '
        'where there is no validation',
    )


def run(args: Namespace) -> None:
    folder = args.runs[0] if len(args.runs) == 1 else ''
    out = expand_home(args.out or str(Path(folder, 'report.html')))
    check_output(out, '--out', endings=['.html'])
    report(args.runs, out, args.split)
    print(f'wrote {out}')
