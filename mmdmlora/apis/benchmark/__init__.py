"""Step time, memory and operations of methods, measured side by side."""
