"""What is learned and how: losses and targets, teachers, optimizers, schedules, weights to start from."""
