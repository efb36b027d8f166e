"""Training and evaluation, from a configuration to checkpoints and metrics.

train             a training or an evaluation, from a configuration file to its results
setup             logging, the recorded configuration and seeds of a process
unread_keys       overrides that have no effect
launch            starts the processes of a job and connects them
dry_run           a trial of a training on its real data
solver            optimizers, gradient clipping, schedules, lengths in epochs
step              one step of optimization
averages          moving averages of the weights
norm_statistics   the running statistics of BatchNorms in several processes
determinism       repeatable trainings
trainer           the training loop of a configuration
hooks             actions between the steps of the loop
loggers           where the metrics of a training go
profiling         a profile of the first steps
evaluate          evaluation of a model on the datasets of a configuration
validation        losses of a model on test datasets
results           the file of final metrics
signals           what runs do with SIGTERM and SIGINT
random_state      the random number generators of a process
memory            peak memory of a process
command_line      how every tool ends, and the options that the starters of runs share
run               a training or an evaluation in a process of its own
run_lock          a lock on the folder of a run
run_progress      the progress of runs
starters          starts runs as processes of this machine
slurm             starts runs in Slurm's queue
schedule          works off runs, several at once
runs              a list of runs, worked off once
sweeps            runs with every combination of some values
search            runs that search good values of some keys
paper_tables      runs of the rows of the papers' tables
submit            submissions to COCO's keypoint server
machine           the device, the memory and the processors of this machine
data_statistics   measures of a dataset for its configuration
starting_weights  the weights that a new training starts from
proposed_config   a configuration with the reason of each value
new_config        proposes a configuration for a dataset
markdown          tables in Markdown
"""
