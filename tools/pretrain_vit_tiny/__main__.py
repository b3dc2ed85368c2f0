"""Pre-train the embedded backbone: python tools/pretrain_vit_tiny --out FILE."""

from argparse import ArgumentParser

import torch
from contact_sheet import save_contact_sheet
from measuring import measure_drawn, probe_digits
from pretraining import pretrain
from vit_tiny import load_backbone, save_backbone

from mmdmlora.apis.outputs import check_output
from mmdmlora.cli.errors import user_errors


def main() -> None:
    parser = ArgumentParser(description='Pre-train a tiny ViT on drawn pictures.')
    parser.add_argument('--out', help='train, and write the weights (.safetensors)')
    parser.add_argument('--weights', help='train nothing, take these weights instead')
    parser.add_argument('--images', type=int, default=1_000_000, help='pictures to see')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, default=1, help='threads of PyTorch')
    parser.add_argument(
        '--probe', action='store_true', help='fit a linear classifier for digits'
    )
    parser.add_argument('--contact-sheet', help='write a page of samples here (.png)')
    args = parser.parse_args()
    if args.out and args.weights:
        parser.error('--out trains and --weights does not: give one of them')
    if args.probe and not (args.out or args.weights):
        parser.error('--probe needs --out or --weights')
    torch.set_num_threads(args.threads)
    with user_errors():
        if args.out:
            check_output(args.out, '--out', endings=['.safetensors'])
        if args.contact_sheet:
            check_output(args.contact_sheet, '--contact-sheet', endings=['.png'])
            save_contact_sheet(args.contact_sheet, args.seed)
        if args.weights and args.probe:
            accuracy = probe_digits(load_backbone(args.weights))
            print(f'linear probe on digits: {accuracy:.1f} %')
        if args.out:
            backbone, head = pretrain(args.images, seed=args.seed)
            figures = measure_drawn(backbone, head)
            if args.probe:
                figures['digits'] = probe_digits(backbone)
            record = {'seed': args.seed, 'images': args.images}
            record |= {f'accuracy_{k}': f'{v:.1f}' for k, v in figures.items()}
            save_backbone(backbone, args.out, record)
            print(*(f'{k}: {v}' for k, v in record.items()), sep='\n')


if __name__ == '__main__':
    main()
