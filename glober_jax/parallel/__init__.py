"""Mesh and sharding rules."""
