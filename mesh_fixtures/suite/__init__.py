"""The conformance tests as they are installed; in a checkout they are in `tests/conformance/`."""
