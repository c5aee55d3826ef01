"""How work is run: command line, configuration, engines, training."""
