"""GLOBER compared with variants without its parts, and with a plain video diffusion model."""
