"""The tables and figures of the paper: runs, results and what they say."""
