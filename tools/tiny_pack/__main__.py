"""The command: ``python -m tools.tiny_pack <stage|all|untrained|restore> --out DIR --photos SOURCE``."""

import argparse
from pathlib import Path

from pairwright.doctor.scorers import write_golden

from .export import write_untrained
from .restore import restore
from .stages import STAGES, Workshop, run_stage


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.tiny_pack", description=__doc__)
    parser.add_argument("stage", choices=("all", "untrained", "restore", *STAGES))
    parser.add_argument("--out", type=Path, required=True, help="where the pack is written")
    parser.add_argument("--photos", type=Path, help="tar or folder with metadata.jsonl")
    parser.add_argument("--teacher", type=Path, help="u2netp.onnx, which teaches saliency")
    parser.add_argument("--work", type=Path, default=Path("build/tiny_pack"),
                        help="checkpoints, caches and cards")  # fmt: skip
    arguments = parser.parse_args()
    if arguments.stage not in {"untrained", "restore", "golden"} and not (arguments.photos and arguments.teacher):
        parser.error("training needs --photos and --teacher")
    return arguments


def main() -> None:
    """Run one stage, or all that are not finished."""
    arguments = parse()
    if arguments.stage == "untrained":
        write_untrained(arguments.out)
        return
    if arguments.stage == "restore":
        restore(arguments.out, arguments.work)
        return
    if arguments.stage == "golden":
        print(write_golden(arguments.out))
        return
    shop = Workshop(arguments.photos, arguments.teacher, arguments.work, arguments.out)
    for name in STAGES if arguments.stage == "all" else (arguments.stage,):
        run_stage(name, shop)


if __name__ == "__main__":
    main()
