"""What developers of the project run by hand, in a checkout."""
