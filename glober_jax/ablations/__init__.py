"""The comparison of GLOBER with its parts left out and with a plain video diffusion model.

Nothing outside imports from here, besides the command `glober_jax.ablate`.
"""
