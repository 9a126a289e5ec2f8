"""Several workers on one machine: a supervisor process, and a worker in each of its child processes (`--processes`)."""
