"""Model parts that several methods share: backbones, FCOS, generated keypoint heads, set prediction."""
