"""What people look at: charts, contact sheets, the report of a run, runs side by side."""
