"""What is learned: the composition, its parts, and presets."""
