"""Small skeletons that tests make up."""

from posecore.structures.skeleton import Skeleton

DOG = Skeleton(
    name="dog",
    keypoints=("nose", "left_paw", "right_paw", "back", "tail"),
    flip_pairs=(("left_paw", "right_paw"),),
    limbs=(("nose", "back"), ("back", "tail")),
    sigmas=(0.02, 0.08, 0.08, 0.1, 0.12),
)
STICK = Skeleton(
    name="stick",
    keypoints=("head", "left_hand", "right_hand", "left_foot", "right_foot"),
    flip_pairs=(("left_hand", "right_hand"), ("left_foot", "right_foot")),
    limbs=(("head", "left_hand"), ("head", "right_hand"), ("head", "left_foot"), ("head", "right_foot")),
    sigmas=(0.05, 0.1, 0.1, 0.1, 0.1),
)
