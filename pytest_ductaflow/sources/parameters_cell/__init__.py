"""The cell of a flow into which its config goes: what it assigns, and whether there is one."""
