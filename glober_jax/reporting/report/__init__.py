"""One run as one HTML file that opens anywhere: its videos, its numbers, how they were made."""
