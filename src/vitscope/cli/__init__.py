"""Commands: parse, call what is below, show. The only room that prints."""
