"""The engine: registry, plan, runner, ledger, store and command line."""
