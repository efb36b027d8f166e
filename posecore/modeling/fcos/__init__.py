"""The anchor-free one-stage detector FCOS in parts, for the methods that grow a keypoint branch on it.

Letters: N images, L levels, R = sum of H_l * W_l over levels, G ground-truth persons of one image.
"""
