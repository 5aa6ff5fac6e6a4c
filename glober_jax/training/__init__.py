"""Stages, their jitted steps and the one loop they share."""
