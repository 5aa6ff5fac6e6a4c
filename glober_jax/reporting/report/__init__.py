"""One run as a self-contained HTML file: videos, numbers, and how they were made."""
