"""Write executed notebooks as HTML pages, in a separate process where a core is idle."""
