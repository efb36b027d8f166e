"""Training and evaluation, from a configuration to checkpoints and metrics.

command_line   how every tool ends, and the options that the starters of runs share
train          a training or an evaluation, from a configuration file to its results
setup          logging, the recorded configuration and seeds of a process
launch         starts the processes of a job and connects them
solver         optimizers, gradient clipping, schedules, lengths in epochs
step           one step of optimization
trainer        the training loop of a configuration
hooks          actions between the steps of the loop
evaluate       evaluation of a model on the datasets of a configuration
validation     losses of a model on test datasets
results        the file of final metrics
signals        what runs do with SIGTERM and SIGINT
random_state   the random number generators of a process
runs           trainings and evaluations in processes of their own
sweeps         runs with every combination of some values
paper_tables   runs of the rows of the papers' tables
submit         submissions to COCO's keypoint server
markdown       tables in Markdown
"""
