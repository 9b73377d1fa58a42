"""Fair comparison: full ranking, slices, significance, and the gate that decides."""
