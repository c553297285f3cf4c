"""The built-in plugins, registered exactly as a stranger's would be."""
