"""Times and costs of operators and models, beside what they replace; tools/benchmark.py prints them.

timing           times functions in turns
operators        both operators beside torch's grid_sample
keypoint_sample  the first
ms_deform_attn   the second
model            inference time beside Detectron2's Keypoint R-CNN
training         times of training steps beside the same
export           times and memory of exported models beside PyTorch
prediction       time of a prediction on image files from end to end
tracking         identities of persons on drawn films, where they are known
memory           peak memory of inference beside the same, and of training
keys             time and memory of training and prediction with each key of speed on and off
data             training samples beside Detectron2's mapper
gpu_check        all of these on a GPU, part by part
paper_check      every row of the papers' tables, trained for a step and used
cost             parameters and multiply-adds beside the papers' figures
"""
