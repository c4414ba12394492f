"""The verbs of the command line, one module a verb or two; `restore.commands.tree` calls them."""
