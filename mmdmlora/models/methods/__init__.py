"""The methods: one class derived from PEFTModel a file."""
