"""Training and evaluation, from a command line to checkpoints.

setup          configuration files and overrides, checked; logging and seeds of a process
command_line   what the tools share: how they end, and options of how runs are started
train          a training or an evaluation, from a configuration file to its results
launch         how processes start and find each other
solver         optimizers, gradient clipping, schedules, lengths in epochs
step           one step of optimization
trainer        the loop, put together from a configuration
hooks          what happens between its steps
evaluate       a model on the datasets of a configuration
validation     the losses of a model on them
random_state   the random number generators of a process
runs           trainings and evaluations in processes of their own
sweeps         runs with every combination of some values
paper_tables   runs of the rows of the papers' tables
submit         submissions to COCO's keypoint server
markdown       tables
"""
