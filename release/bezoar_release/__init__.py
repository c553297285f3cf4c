"""Cards, licences, packaging and the Hub: the plugin behind `bezoar release`."""
