"""Speed of the package against what a user would write or install instead."""
