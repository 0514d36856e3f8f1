"""The click commands, one module per noun; each parses, calls a flow and renders."""
