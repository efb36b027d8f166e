"""The command line of :mod:`posecore.data.synthetic.images`."""

from posecore.data.synthetic.command_line import drawing_parser
from posecore.data.synthetic.images import Scene, make_dataset


def main(arguments: list[str] | None = None) -> None:
    """Writes a dataset of drawn figures, as the command line asks for it."""
    parser = drawing_parser(
        "python -m posecore.data.synthetic",
        "Make images of jointed figures in COCO's format.",
        "images, annotations and definitions",
    )
    parser.add_argument("--train", type=int, default=400, help="number of training images")
    parser.add_argument("--val", type=int, default=50, help="number of validation images")
    parser.add_argument(
        "--size", type=int, nargs="+", default=[160], help="side, or height and width, in pixels"
    )
    parser.add_argument("--people", type=int, nargs=2, default=Scene.people, help="least and most per image")
    parser.add_argument(
        "--scale", type=float, nargs=2, default=Scene.scale, help="their height / the image's"
    )
    parser.add_argument("--crowds", type=float, default=Scene.crowds, help="share of images with a crowd")
    options = parser.parse_args(arguments)
    if len(options.size) > 2:
        parser.error("--size takes one number or two")
    for split, num_images in (("train", options.train), ("val", options.val)):
        path = make_dataset(
            options.out,
            num_images=num_images,
            size=(options.size[0], options.size[-1]),
            skeleton=options.skeleton,
            split=split,
            seed=options.seed,
            people=tuple(options.people),
            scale=tuple(options.scale),
            crowds=options.crowds,
        )
        print(f"{num_images} images: {path}")


if __name__ == "__main__":
    main()
