"""Training: the loop, its steps, schedules and checkpoints, and how processes start and find each other."""
