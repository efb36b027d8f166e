"""The shared core of six direct human-pose estimators on Detectron2.

Map, from the ground up; a module imports only what stands on its own line or above::

    config structures ops  keys and options; poses and what is computed from them; compiled operators
    env models             versions for bug reports; the trained models that come with the project
    layers                 network parts that know nothing of poses
    data visualization     datasets, samples and loaders; drawings and plots
    modeling               the base of all models, backbones, FCOS, keypoint heads, set prediction
    evaluation             metrics of datasets, submissions, checks of a dataset
    checkpoint             reading, converting and writing weights
    engine inference       training and evaluation; prediction on images and videos
    export                 exported models, compared with PyTorch
    benchmarks reports     times and costs of operators and models; pages about results and datasets

Methods (directpose, ...) import posecore and never each other; posecore imports no method, it
finds them by the entry-point group ``posecore.methods``. ``tests/test_imports.py`` asserts this.
"""

from posecore import compat  # noqa: F401  (must run before anything of Detectron2 is imported)

__version__ = "0.1.0"
