"""What the user meets: command line, configuration, supervisor, ledger.  Imports all stages."""
