"""The diffusion process, its samplers and guidance."""
