"""From observations to what is wrong with a mesh: expectations, statistics, findings."""
