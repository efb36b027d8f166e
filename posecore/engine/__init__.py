"""Training, from a command line to checkpoints.

setup          configuration files and overrides, checked; logging and seeds of a process
launch         how processes start and find each other
solver         optimizers, gradient clipping, schedules, lengths in epochs
step           one step of optimization
trainer        the loop, put together from a configuration
hooks          what happens between its steps
evaluate       a model on the datasets of a configuration
validation     the losses of a model on them
checkpoint     saving, and the rules by which weights fit a model
weights        reading weights from anywhere, without running code
random_state   the random number generators of a process
"""
