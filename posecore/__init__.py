"""The shared core of five direct human-pose estimators on Detectron2.

Map, from the ground up; a module imports only what stands on its own line or above::

    ops                            the faces of the compiled operators in csrc/
    layers                         network parts that know nothing of poses
    options divisors               keys whose value is one of a few; what losses are divided by
    keypoints boxes heatmaps oks   what is true of poses whatever the method
    visualize frames               drawings of poses; where pictures come from
    estimator backbones            the base meta-architecture; feature pyramids
    fcos                           the one-stage detector that three methods share
    data evaluation engine tta     datasets, metrics, training, test-time augmentation
    predictor                      using a trained model
    config                         get_cfg(): every key, of the core and of each method
    env                            what is installed, for bug reports

Methods (directpose, ...) import posecore and never each other; posecore imports no method, it
finds them by the entry-point group ``posecore.methods``. ``tests/test_imports.py`` asserts this.
"""

from posecore import compat  # noqa: F401  (must run before anything of Detectron2 is imported)

__version__ = "0.1.0"
