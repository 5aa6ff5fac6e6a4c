"""What lies where in each dataset: its options, and its inputs with class, split and group."""
