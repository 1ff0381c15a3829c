"""JSON Schemas of configs: what they refuse, the types that they give to cells, and first drafts."""
