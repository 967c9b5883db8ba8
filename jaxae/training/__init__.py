"""How it is learned: learners, the loop, and runs."""
