"""Import of published weights, and export of ours under published names."""
