"""Training and evaluation, from a configuration to checkpoints and metrics.

setup          logging, the recorded configuration and seeds of a process
launch         starts the processes of a job and connects them
solver         optimizers, gradient clipping, schedules, lengths in epochs
step           one step of optimization
trainer        the training loop of a configuration
hooks          actions between the steps of the loop
evaluate       evaluation of a model on the datasets of a configuration
validation     losses of a model on test datasets
results        the file of final metrics
random_state   the random number generators of a process
"""
