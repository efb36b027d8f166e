"""Network parts that know nothing of poses."""
