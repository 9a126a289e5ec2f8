"""Events from the command line and from files into a topic."""
