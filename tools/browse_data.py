"""Draw samples of training sets: python tools/browse_data.py CONFIG ... --out FILE."""

import copy

from mmdmlora.apis.browse import browse
from mmdmlora.apis.checks import check_output
from mmdmlora.apis.cli import config_parser, read_config, user_errors


def main() -> None:
    parser = config_parser("Draw samples of a config's training set after its pipeline.")
    parser.add_argument('more', nargs='*', help='other configs, to be drawn below')
    parser.add_argument('--out', required=True, help='the picture to write, e.g. a.png')
    parser.add_argument('--columns', type=int, default=10, help='samples in a row')
    parser.add_argument('--rows', type=int, default=3, help='rows for each config')
    args = parser.parse_args()
    with user_errors():
        check_output(args.out, '--out')
        configs = []
        for path in (args.config, *args.more):
            each = copy.copy(args)
            each.config = path
            configs.append(read_config(each))
        browse(configs, args.columns, args.rows).save(args.out)
        print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
