"""What a run will need and how long it will take, on devices that need not be there."""
