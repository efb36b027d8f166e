"""What the command lines of drawn images and of drawn films share: :func:`drawing_parser`."""

import argparse


def drawing_parser(prog: str, description: str, out: str) -> argparse.ArgumentParser:
    """A parser with --out, --skeleton and --seed.

    Args:
        prog: how the program is started.
        description: what it makes.
        out: what it writes into the folder of --out.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--out", required=True, help=f"folder for {out}")
    parser.add_argument(
        "--skeleton", default="coco_17", help="name of a shipped skeleton or path of a YAML file"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser
