"""From frames and facts to a finished dataset folder, in parallel and resumable."""
